// The page of the example `server`.
import { assert, check as checkOf, exit, text, until } from "./checks.mjs";
import { checkLooks } from "./looks.mjs";

const check = (title, body) => checkOf("server", title, body);
const log = async (page) => (await text(page, "#log")).split("\n").filter((line) => line);
const points = (page) => page.locator("#line").evaluate((line) => line.points.numberOfItems);
const publish = async (url, body) => {
  assert.equal((await fetch(`${url}/topics/lobby`, { method: "POST", body })).status, 202);
};

async function open(scene, url, mode) {
  const page = await scene.open(url, mode);
  await until(() => log(page), ["— connected"]);
  return page;
}

async function say(page, message) {
  await page.fill("#text", message);
  await page.press("#text", "Enter");
}

await check("two pages hear each other and what is posted, and markup stays text", async (scene) => {
  const { url } = await scene.start("server");
  const pages = [await open(scene, url), await open(scene, url)];
  await say(pages[0], "<b>hello</b> \u2603");
  await until(() => log(pages[1]), ["— connected", "<b>hello</b> \u2603"]);
  await publish(url, "from a shell");
  for (const page of pages) await until(() => log(page), ["— connected", "<b>hello</b> \u2603", "from a shell"]);
  assert.equal(await text(pages[0], "pre"), `curl -d hello ${url}/topics/lobby`);
});

await check("the chart tells the messages and the connections", async (scene) => {
  const { url } = await scene.start("server");
  const page = await open(scene, url);
  await until(() => text(page, "#state"), (found) => /^\d+ messages, [1-9]\d* connections$/.test(found));
  const flood = setInterval(() => publish(url, "x").catch(() => {}), 20);
  try {
    await until(() => text(page, "#state"), (found) => Number.parseInt(found, 10) > 10);
    await until(() => points(page), (count) => count > 2);
  } finally {
    clearInterval(flood);
  }
});

await check("a server that is killed is missed, and chat and chart go on when it is back", async (scene) => {
  const example = await scene.start("server");
  const page = await open(scene, example.url);
  await until(() => points(page), (count) => count > 0);
  await scene.kill(example);
  await until(async () => (await log(page)).includes("— disconnected"), true);
  await until(() => text(page, "#state"), "disconnected");
  // What is written meanwhile is not lost.
  await say(page, "meanwhile");
  assert.equal(await page.inputValue("#text"), "meanwhile");
  await example.again();
  await until(async () => (await log(page)).at(-1), "— connected");
  await page.press("#text", "Enter");
  await until(async () => (await log(page)).at(-1), "meanwhile");
  await until(() => text(page, "#state"), (found) => found.endsWith(" connections"));
});

await checkLooks("server", "server", async (scene, mode) => {
  const { url } = await scene.start("server");
  const page = await open(scene, url, mode);
  for (let number = 0; number < 20; number += 1) await publish(url, `The line with the number ${number} of the lobby`);
  await until(async () => (await log(page)).length, 21);
  await until(() => points(page), (count) => count > 2);
  return page;
});

await exit();

// The pages of the example `pusher`, with pusher-js and with Laravel Echo.
import { assert, check as checkOf, exit, text, texts, until } from "./checks.mjs";
import { checkLooks } from "./looks.mjs";

const check = (title, body) => checkOf("pusher", title, body);
const start = (scene) => scene.start("pusher", "--modules", `${import.meta.dirname}/node_modules`);
const lines = (page) => texts(page, "#log li");

async function join(scene, url, name, mode) {
  const page = await scene.open(url, mode);
  await page.fill("#name", name);
  await page.click("#door button");
  await until(() => text(page, "#state"), "connected");
  await until(async () => (await texts(page, "#members li")).includes(name), true);
  return page;
}

async function say(page, message) {
  await page.fill("#text", message);
  await page.click("#send");
  await until(() => page.inputValue("#text"), "");
}

for (const [library, path] of [["pusher-js", "/"], ["Laravel Echo", "/echo"]]) {
  await check(`pages of ${library} hear each other, and who comes and goes; markup stays text`, async (scene) => {
    const url = (await start(scene)).url + path;
    const ann = await join(scene, url, "Ann");
    const bob = await join(scene, url, "<i>Bob</i>");
    for (const page of [ann, bob]) await until(() => texts(page, "#members li"), ["<i>Bob</i>", "Ann"]);
    await say(bob, "<b>hello</b> \u2603");
    await until(() => lines(ann), ["<i>Bob</i> joined", "<i>Bob</i><b>hello</b> \u2603"]);
    await bob.close();
    await until(() => texts(ann, "#members li"), ["Ann"]);
    await until(async () => (await lines(ann)).at(-1), "<i>Bob</i> left");
  });

  await check(`pages of ${library} miss a server that is killed, and go on when it is back`, async (scene) => {
    const example = await start(scene);
    const pages = [await join(scene, example.url + path, "Ann"), await join(scene, example.url + path, "Bob")];
    await scene.kill(example);
    for (const page of pages) {
      await until(() => text(page, "#state"), (found) => found !== "connected");
      assert.equal(await page.isDisabled("#send"), true);
    }
    await example.again();
    for (const page of pages) await until(() => text(page, "#state"), "connected", 15_000);
    for (const page of pages) await until(() => texts(page, "#members li"), ["Ann", "Bob"]);
    await say(pages[0], "after");
    await until(async () => (await lines(pages[1])).at(-1), "Annafter");
  });

  await checkLooks("pusher", path === "/" ? "pusher" : "pusher-echo", async (scene, mode) => {
    const url = (await start(scene)).url + path;
    const ann = await join(scene, url, "Ann", mode);
    const bob = await join(scene, url, "Bob");
    await until(() => lines(ann), ["Bob joined"]);
    for (let number = 0; number < 5; number += 1) {
      await say(ann, "Good morning. Is the release out?");
      await say(bob, "Since an hour. The notes are on the wiki, together with the list of those who helped.");
      await until(async () => (await lines(ann)).length, 3 + 2 * number);
    }
    for (let number = 0; number < 20; number += 1) await say(ann, `line ${number}`);
    return ann;
  });
}

await check("a page without its library says so", async (scene) => {
  const page = await scene.open("about:blank");
  const { url } = await scene.start("pusher");
  await page.goto(url);
  await page.fill("#name", "Ann");
  await page.click("#door button");
  await until(async () => (await lines(page)).length, 1);
  assert.match((await lines(page))[0], /missing/);
  // The file is missing, indeed.
  scene.problems = scene.problems.filter((problem) => !problem.includes("404"));
});

await exit();

// A page with the client of Socket.IO at the example `socket_io`.
import { assert, check as checkOf, exit, text, texts, until } from "./checks.mjs";
import { checkLooks } from "./looks.mjs";

const check = (title, body) => checkOf("socket_io", title, body);
const start = (scene) => scene.start("socket_io", "--public", `${import.meta.dirname}/pages/socket_io`,
  "--client", `${import.meta.dirname}/node_modules/socket.io-client/dist`);
const lines = (page) => texts(page, "#log li");

async function join(scene, { url }, name, mode) {
  const page = await scene.open(`${url}/index.html?name=${name}`, mode);
  await until(() => text(page, "#state"), "connected");
  await until(async () => (await lines(page)).length, 1);
  return page;
}

async function say(page, message) {
  await page.fill("#text", message);
  await page.press("#text", "Enter");
}

await check("pages hear each other, and who comes and goes", async (scene) => {
  const example = await start(scene);
  const ann = await join(scene, example, "Ann");
  const bob = await join(scene, example, "Bob");
  await until(() => ann.evaluate(() => socket.io.engine.transport.name), "websocket");
  await say(bob, "<b>hello</b> \u2603");
  await until(() => lines(ann), ["1 present", "Bob joined", "Bob: <b>hello</b> \u2603"]);
  await bob.close();
  await until(async () => (await lines(ann)).at(-1), "Bob left");
});

await check("a server that is killed is missed, and joined again when it is back", async (scene) => {
  const example = await start(scene);
  const pages = [await join(scene, example, "Ann"), await join(scene, example, "Bob")];
  await scene.kill(example);
  for (const page of pages) await until(() => text(page, "#state"), "disconnected");
  await example.again();
  for (const page of pages) await until(() => text(page, "#state"), "connected", 15_000);
  await until(async () => (await lines(pages[1])).filter((line) => line.endsWith(" present")).length, 2);
  await say(pages[0], "after");
  await until(async () => (await lines(pages[1])).at(-1), "Ann: after");
  assert.equal((await lines(pages[1])).filter((line) => line === "Ann: after").length, 1);
});

await checkLooks("socket_io", "socket_io", async (scene, mode) => {
  const example = await start(scene);
  const ann = await join(scene, example, "Ann", mode);
  const bob = await join(scene, example, "Bob");
  for (let number = 0; number < 10; number += 1) await say(bob, `The line with the number ${number}`);
  await until(async () => (await lines(ann)).length, 12);
  return ann;
});

await exit();

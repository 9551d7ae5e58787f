// A page with the client of Rails at the example `action_cable`, which has no page of its own: from another origin.
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { assert, check as checkOf, exit, text, texts, until } from "./checks.mjs";
import { checkLooks } from "./looks.mjs";

const FILES = {
  "/": ["pages/action_cable.html", "text/html"],
  "/actioncable.js": ["node_modules/@rails/actioncable/app/assets/javascripts/actioncable.esm.js", "text/javascript"],
};
const files = createServer((request, response) => {
  const found = FILES[new URL(request.url, "http://localhost").pathname];
  if (!found) return response.writeHead(404).end();
  response.setHeader("content-type", `${found[1]}; charset=utf-8`);
  createReadStream(`${import.meta.dirname}/${found[0]}`).pipe(response);
});
await new Promise((done) => files.listen(0, "127.0.0.1", done));
const origin = `http://127.0.0.1:${files.address().port}`;

const check = (title, body) => checkOf("action_cable", title, body);
const start = (scene) => scene.start("action_cable", "--origin", origin, "--broadcast-key", "key");
const lines = (page) => texts(page, "#log li");

async function open(scene, { url }, mode) {
  const page = await scene.open(`${origin}/?${new URLSearchParams({ cable: url })}`, mode);
  await until(() => text(page, "#state"), "connected");
  return page;
}

async function say(page, message) {
  await page.fill("#text", message);
  await page.press("#text", "Enter");
}

async function broadcast({ url }, body) {
  const target = url.replace("ws:", "http:").replace("/cable", "/_broadcast");
  const request = { stream: "chat:browser", data: JSON.stringify({ body }) };
  const headers = { authorization: "Bearer key" };
  const response = await fetch(target, { method: "POST", headers, body: JSON.stringify(request) });
  assert.equal(response.status, 201);
}

await check("pages hear each other, and broadcasts", async (scene) => {
  const example = await start(scene);
  const pages = [await open(scene, example), await open(scene, example)];
  await say(pages[0], "<b>hello</b> \u2603");
  for (const page of pages) await until(() => lines(page), ["<b>hello</b> \u2603"]);
  await broadcast(example, "from elsewhere");
  for (const page of pages) await until(() => lines(page), ["<b>hello</b> \u2603", "from elsewhere"]);
});

await check("a server that is killed is missed, and subscribed again when it is back", async (scene) => {
  const example = await start(scene);
  const page = await open(scene, example);
  await scene.kill(example);
  await until(() => text(page, "#state"), "disconnected");
  await example.again();
  // The client looks at once when its page comes to the foreground, otherwise after up to half a minute.
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange", { bubbles: true })));
  await until(() => text(page, "#state"), "connected");
  await say(page, "after");
  await until(() => lines(page), ["after"]);
});

await checkLooks("action_cable", "action_cable", async (scene, mode) => {
  const example = await start(scene);
  const page = await open(scene, example, mode);
  for (let number = 0; number < 10; number += 1) await broadcast(example, `The line with the number ${number}`);
  await until(async () => (await lines(page)).length, 10);
  return page;
});

await exit();

// The example package `livereload`, with npm's livereload-js in the page.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { assert, check as checkOf, exit, text, until } from "./checks.mjs";

const SCRIPT = createRequire(import.meta.url).resolve("livereload-js/dist/livereload.js");
const check = (title, body) => checkOf("livereload", title, body);

const page = (heading) => `<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="/style.css">
<h1>${heading}</h1><script>
  document.write('<script src="/livereload.js?port=' + location.port + '"></' + 'script>');
</script>`;

// A site in a folder of its own, its page in the browser, and the number of times that the page was loaded.
async function withSite(scene, body) {
  const folder = await mkdtemp(path.join(tmpdir(), "site-"));
  const write = (name, contents) => writeFile(path.join(folder, name), contents);
  try {
    await write("index.html", page("one"));
    await write("style.css", "h1 { color: rgb(1, 2, 3) }");
    const example = await scene.start("../livereload", "--folder", folder, "--script", SCRIPT);
    const opened = await scene.open(example.url);
    const loads = { count: 0 };
    opened.on("load", () => loads.count += 1);
    await until(() => opened.evaluate(() => window.LiveReload?.connector?.protocolParser?.protocol), 7);
    await body({ example, opened, write, loads });
  } finally {
    await rm(folder, { recursive: true });
  }
}

const color = (opened) => opened.locator("h1").evaluate((heading) => getComputedStyle(heading).color);

await check("a changed style sheet is replaced without loading the page again", (scene) =>
  withSite(scene, async ({ opened, write, loads }) => {
    await write("style.css", "h1 { color: rgb(9, 9, 9) }");
    await until(() => color(opened), "rgb(9, 9, 9)");
    assert.equal(loads.count, 0);
  }));

await check("a changed page is loaded again", (scene) =>
  withSite(scene, async ({ opened, write, loads }) => {
    await write("index.html", page("two"));
    await until(() => text(opened, "h1"), "two");
    await until(() => loads.count, 1);
  }));

await check("the page connects again to a server that was killed", (scene) =>
  withSite(scene, async ({ example, opened, write }) => {
    await scene.kill(example);
    await example.again();
    // The script tries again with growing pauses, and its socket is open before it has said what it speaks.
    await until(async () => {
      await write("style.css", `h1 { color: rgb(4, 5, ${Math.floor(Math.random() * 200)}) }`);
      return color(opened);
    }, (found) => found.startsWith("rgb(4, 5,"), 20_000);
  }));

await exit();

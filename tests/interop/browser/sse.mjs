// The page of the example `sse`.
import { assert, check as checkOf, exit, text, until } from "./checks.mjs";
import { checkLooks } from "./looks.mjs";

const check = (title, body) => checkOf("sse", title, body);
const points = (page) => page.locator("#line").evaluate((line) => line.points.numberOfItems);

async function open(scene, url, mode) {
  const page = await scene.open(url, mode);
  await until(() => text(page, "#state"), "connected");
  await until(() => points(page), (count) => count > 5);
  return page;
}

await check("the price changes, and the chart grows", async (scene) => {
  const page = await open(scene, (await scene.start("sse")).url);
  const before = [await text(page, "#price"), await points(page)];
  assert.match(before[0], /^\d+\.\d\d$/);
  await until(() => text(page, "#price"), (found) => found !== before[0]);
  await until(() => points(page), (count) => count > before[1]);
  assert.ok(await page.locator("#line").evaluate((line) => line.getBoundingClientRect().height) > 50);
});

await check("a server that is killed is missed, and its prices go on when it is back", async (scene) => {
  const example = await scene.start("sse");
  const page = await open(scene, example.url);
  await scene.kill(example);
  await until(() => text(page, "#state"), "connecting again");
  const before = await points(page);
  await example.again();
  await until(() => text(page, "#state"), "connected");
  await until(() => points(page), (count) => count > before);
});

await checkLooks("sse", "sse", async (scene, mode) => {
  const page = await open(scene, (await scene.start("sse")).url, mode);
  await until(() => points(page), (count) => count > 12);
  return page;
});

await exit();

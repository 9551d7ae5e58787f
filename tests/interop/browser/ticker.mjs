// The page of the example `ticker`.
import { assert, check as checkOf, exit, sleep, text, until } from "./checks.mjs";
import { checkLooks } from "./looks.mjs";

const check = (title, body) => checkOf("ticker", title, body);
const start = (scene) => scene.start("ticker", "--seconds", "0");
const state = (page) => text(page, "#state");
const price = async (page) => Number(await text(page, "#price"));
const points = (page) => page.locator("#line").evaluate((line) => line.points.numberOfItems);

// The age that the page tells, in milliseconds.
async function age(page) {
  const [, number, unit] = /^(-?[\d.]+) (ms|s)$/.exec(await text(page, "#age"));
  return Number(number) * (unit === "s" ? 1000 : 1);
}

async function open(scene, url, mode) {
  const page = await scene.open(url, mode);
  await until(() => state(page), "connected");
  await until(() => points(page), (count) => count > 50);
  return page;
}

await check("prices change, and the chart of the chosen symbol is drawn", async (scene) => {
  const page = await open(scene, (await start(scene)).url);
  await until(() => price(page), (found) => found >= 100);
  const before = await price(page);
  await until(() => price(page), (found) => found > before);
  await until(() => text(page, "#rate"), (found) => Number(found) > 100);
  const symbols = await page.locator("#symbol option").allTextContents();
  assert.deepEqual(symbols, [...Array(20).keys()].map((number) => `SYM${String(number).padStart(3, "0")}`));
  const drawn = () => page.locator("#line").getAttribute("points");
  const first = await drawn();
  await page.selectOption("#symbol", "SYM007");
  await until(drawn, (found) => found !== first);
  await sleep(300);
  assert.equal(await page.inputValue("#symbol"), "SYM007");
  assert.ok(await page.locator("#line").evaluate((line) => line.getBoundingClientRect().height) > 50);
});

await check("the switches connect again, to all quotes or to the newest", async (scene) => {
  const { url } = await start(scene);
  const page = await scene.open("about:blank");
  // The socket lies in a worker: what the page asks of it.
  await page.addInitScript(() => {
    const post = Worker.prototype.postMessage;
    window.asked = [];
    Worker.prototype.postMessage = function (data) {
      asked.push([new URL(data.url).pathname, data.slow]);
      post.call(this, data);
    };
  });
  await page.goto(url);
  const expected = [["/latest", false], ["/all", false], ["/latest", false], ["/latest", true]];
  for (const [index, change] of ["#latest", "#latest", "#slow", undefined].entries()) {
    await until(() => state(page), "connected");
    assert.deepEqual(await page.evaluate(() => asked), expected.slice(0, index + 1));
    const before = await price(page);
    await until(() => price(page), (found) => found > (before || 0));
    if (change) await page.click(change);
  }
});

await check("a page that reads slowly answers, and its quotes are not old if it gets the newest", async (scene) => {
  const { url } = await start(scene);
  const page = await open(scene, url);
  await page.check("#slow");
  await until(() => state(page), "connected");
  await sleep(6_000);
  const began = Date.now();
  const newest = await age(page);
  assert.ok(Date.now() - began < 2_000, "the page does not answer");
  assert.ok(newest > 100 && newest < 5_000, `${newest} ms`);
  await page.uncheck("#slow");
  await until(() => age(page), (found) => found < 100);
});

await check("a server that is killed is missed, and its quotes go on when it is back", async (scene) => {
  const example = await start(scene);
  const page = await open(scene, example.url);
  // The clock of the server begins anew with it.
  await sleep(2_000);
  await scene.kill(example);
  await until(() => state(page), "disconnected, trying again");
  await example.again();
  await until(() => state(page), "connected");
  const before = await price(page);
  await until(() => price(page), (found) => found > 0 && found !== before);
  await until(() => age(page), (found) => found < 1_000, 500);
});

await checkLooks("ticker", "ticker", async (scene, mode) => {
  const page = await open(scene, (await start(scene)).url, mode);
  await until(() => text(page, "#rate"), (found) => Number(found) > 100);
  await until(() => points(page), 300, 15_000);
  return page;
});

await exit();

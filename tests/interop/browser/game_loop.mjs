// The page of the example `game_loop`.
import { assert, check as checkOf, exit, text, until } from "./checks.mjs";
import { checkLooks } from "./looks.mjs";

const check = (title, body) => checkOf("game_loop", title, body);
const place = (page, dot) => page.locator(dot).first().evaluate((circle) =>
  [circle.getAttribute("cx"), circle.getAttribute("cy")].map(Number));

async function open(scene, url, mode) {
  const page = await scene.open(url, mode);
  await until(() => text(page, "#state"), "connected");
  await until(() => page.locator("circle.own").count(), 1);
  return page;
}

await check("arrow keys move the own dot, and the other page sees it", async (scene) => {
  const { url } = await scene.start("game_loop");
  const [ann, bob] = [await open(scene, url), await open(scene, url)];
  await until(() => ann.locator("circle").count(), 2);
  const [x, y] = await place(ann, "circle.own");
  await ann.keyboard.down("ArrowRight");
  await until(() => place(ann, "circle.own"), ([moved]) => moved > x + 0.1);
  await ann.keyboard.up("ArrowRight");
  const [stopped] = await until(() => place(bob, "circle:not(.own)"), ([moved]) => moved > x + 0.1);
  await ann.keyboard.down("ArrowUp");
  await until(() => place(bob, "circle:not(.own)"), ([, moved]) => moved < y - 0.1);
  await ann.keyboard.up("ArrowUp");
  assert.ok(stopped <= 1);
  await ann.close();
  await until(() => bob.locator("circle").count(), 1);
});

await check("a pointer that is held moves the dot towards it", async (scene) => {
  const page = await open(scene, (await scene.start("game_loop")).url);
  const box = await page.locator("#world").boundingBox();
  await page.mouse.move(box.x + box.width * 0.1, box.y + box.height * 0.5);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.1 + 1, box.y + box.height * 0.5);
  await until(() => place(page, "circle.own"), ([x]) => x < 0.4);
  await page.mouse.up();
});

await check("a server that is killed is missed, and the game goes on when it is back", async (scene) => {
  const example = await scene.start("game_loop");
  const page = await open(scene, example.url);
  await scene.kill(example);
  await until(() => text(page, "#state"), "disconnected, trying again");
  await example.again();
  await until(() => text(page, "#state"), "connected");
  const [x] = await place(page, "circle.own");
  await page.keyboard.down("ArrowLeft");
  await until(() => place(page, "circle.own"), ([moved]) => moved < x - 0.05);
});

await checkLooks("game_loop", "game_loop", async (scene, mode) => {
  const { url } = await scene.start("game_loop");
  return open(scene, url, mode);
});

await exit();

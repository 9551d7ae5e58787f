// The page of the example `chat`.
import { assert, check as checkOf, exit, PHONE, DARK, text, texts, until } from "./checks.mjs";
import { checkLooks, contrast, fits } from "./looks.mjs";

const check = (title, body) => checkOf("chat", title, body);
const state = (page) => text(page, "#state");
const present = (page) => text(page, "#present");
const focused = (page) => page.evaluate(() => document.activeElement.id);

// Lines of the log, without their times.
const lines = (page, which = "") => page.locator(`#log li${which}`).evaluateAll((items) => items.map((item) => {
  const copy = item.cloneNode(true);
  copy.querySelector("time").remove();
  return copy.textContent;
}));

async function join(scene, url, name, mode) {
  const page = await scene.open(url, mode);
  await page.fill("#name", name);
  await page.click("#join");
  await until(() => state(page), "connected");
  await until(() => present(page), (names) => names.includes(name));
  return page;
}

async function say(page, message) {
  await page.fill("#text", message);
  await page.click("#send");
  await until(() => page.inputValue("#text"), "");
}

await check("two pages hear each other, and each marks its own messages", async (scene) => {
  const { url } = await scene.start("chat");
  const ann = await join(scene, url, "Ann");
  const bob = await join(scene, url, "Bob");
  await say(ann, "hello \u2603");
  await until(() => lines(bob, ":not(.event)"), ["Ann: hello \u2603"]);
  await say(bob, "bye");
  for (const page of [ann, bob]) await until(() => lines(page, ":not(.event)"), ["Ann: hello \u2603", "Bob: bye"]);
  assert.deepEqual([await lines(ann, ".own"), await lines(bob, ".own")], [["Ann: hello \u2603"], ["Bob: bye"]]);
});

await check("who joins late gets the history, once and in order, with the times", async (scene) => {
  const { url } = await scene.start("chat");
  const ann = await join(scene, url, "Ann");
  const spoken = [...Array(10).keys()].map((number) => `Ann: ${number}`);
  for (const line of spoken) await say(ann, line.slice(5));
  const bob = await join(scene, url, "Bob");
  await until(() => lines(bob), ["Ann has joined", ...spoken, "Bob has joined"]);
  const times = await bob.locator("#log time").evaluateAll((all) => all.map((one) => [one.dateTime, one.textContent]));
  assert.equal(times.length, 12);
  for (const [machine, human] of times) {
    assert.ok(Math.abs(Date.parse(machine) - Date.now()) < 60_000, machine);
    assert.match(human, /^\d\d:\d\d$/);
  }
});

await check("those present are listed once each, as they come and go", async (scene) => {
  const { url } = await scene.start("chat");
  const ann = await join(scene, url, "Ann");
  const bobs = [await join(scene, url, "Bob"), await join(scene, url, "Bob")];
  for (const page of [ann, ...bobs]) await until(() => present(page), "Present: Ann, Bob");
  await bobs[0].close();
  await say(bobs[1], "still here");
  await until(() => lines(ann), ["Ann has joined", "Bob has joined", "Bob: still here"]);
  assert.equal(await present(ann), "Present: Ann, Bob");
  await bobs[1].close();
  await until(() => present(ann), "Present: Ann");
  await until(async () => (await lines(ann)).at(-1), "Bob has left");
});

await check("markup in names and messages stays text", async (scene) => {
  const { url } = await scene.start("chat");
  const name = "<i>Ann</i>&amp;";
  const message = '<img src=x onerror="document.title=1"><script>document.title=2</script> &lt; </li>';
  const ann = await join(scene, url, name);
  const bob = await join(scene, url, "Bob");
  await say(ann, message);
  await until(() => lines(bob, ":not(.event)"), [`${name}: ${message}`]);
  assert.deepEqual(await lines(ann, ".own"), [`${name}: ${message}`]);
  assert.equal(await present(bob), `Present: ${[name, "Bob"].sort().join(", ")}`);
  for (const page of [ann, bob]) {
    assert.equal(await page.locator("#log :is(img, i, script), #present *").count(), 0);
    assert.equal(await page.title(), "The room");
  }
});

await check("the keyboard suffices, and the focus is visible", async (scene) => {
  const { url } = await scene.start("chat");
  const page = await scene.open(url);
  const ring = () => page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  await until(() => focused(page), "name");
  await page.keyboard.press("Enter");
  assert.equal(await state(page), "not connected");
  await page.keyboard.type("Ann");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "join");
  assert.equal(await ring(), "solid");
  await page.keyboard.press("Enter");
  await until(() => focused(page), "text");
  await until(() => state(page), "connected");
  await page.keyboard.type("by enter");
  await page.keyboard.press("Enter");
  await page.keyboard.type("by button");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "send");
  await page.keyboard.press("Space");
  await until(() => lines(page, ".own"), ["Ann: by enter", "Ann: by button"]);
  for (let presses = 0; await focused(page) !== "log"; presses += 1) {
    assert.ok(presses < 3, "the log cannot be reached");
    await page.keyboard.press("Shift+Tab");
  }
  assert.equal(await ring(), "solid");
  await page.keyboard.type("from the log");
  assert.equal(await focused(page), "text");
  await page.keyboard.press("Enter");
  await until(async () => (await lines(page, ".own")).at(-1), "Ann: from the log");
});

await check("a phone shows the field, also above its keyboard, and long words do not widen the page", async (scene) => {
  const { url } = await scene.start("chat");
  const page = await scene.open(url, PHONE);
  await page.tap("#name");
  await page.keyboard.type("A".repeat(40));
  await page.tap("#join");
  await until(() => state(page), "connected");
  for (let number = 0; number < 25; number += 1) await say(page, `${number}`);
  await say(page, "x".repeat(300));
  await until(async () => (await lines(page, ".own")).length, 26);
  const inside = async (selector) => {
    const box = await page.locator(selector).boundingBox();
    const { width, height } = page.viewportSize();
    assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height,
      `${selector} of ${width} × ${height}: ${JSON.stringify(box)}`);
    assert.ok(box.height >= 40, `${selector} is ${box.height} high`);
  };
  for (const height of [844, 420]) {
    await page.setViewportSize({ width: 390, height });
    await fits(page);
    await inside("#text");
    await inside("#send");
    await page.tap("#text");
    await page.keyboard.type(`at ${height}`);
    await page.tap("#send");
    await until(async () => (await lines(page, ".own")).at(-1)?.endsWith(`: at ${height}`), true);
    const below = () => page.locator("#log").evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight);
    await until(below, (pixels) => pixels < 4);
  }
});

for (const [name, mode] of [["light", {}], ["dark", DARK]]) {
  await check(`all texts are readable in ${name}`, async (scene) => {
    const { url } = await scene.start("chat");
    const ann = await scene.open(url, mode);
    const readable = async (selector, pseudo) => {
      const ratio = await contrast(ann.locator(selector), pseudo);
      assert.ok(ratio >= 4.5, `${selector} ${pseudo ?? ""}: ${ratio.toFixed(2)}`);
    };
    const isDark = await ann.evaluate(() => getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)");
    assert.equal(isDark, name === "dark");
    await readable("#name", "::placeholder");
    await readable("#join");
    await ann.fill("#name", "Ann");
    await ann.click("#join");
    const bob = await join(scene, url, "Bob");
    await say(ann, "mine");
    await say(bob, "yours");
    await until(async () => (await lines(ann)).length, 4);
    await readable("#text", "::placeholder");
    const messages = ["own", "event", ""].map((kind) => `#log li[class="${kind}"]`);
    const times = messages.map((message) => `${message} time`);
    for (const selector of ["h1", "#state", "#present", "#text", "#send", ...messages, ...times]) {
      await readable(selector);
    }
  });
}

await check("a server that is killed is missed, and joined again when it is back", async (scene) => {
  const example = await scene.start("chat");
  const pages = [await join(scene, example.url, "Ann"), await join(scene, example.url, "Bob")];
  await say(pages[0], "before");
  await until(() => lines(pages[1], ":not(.event)"), ["Ann: before"]);
  await scene.kill(example);
  for (const page of pages) {
    await until(() => state(page), (shown) => /^disconnected|^connecting/.test(shown));
    await until(() => state(page), "disconnected, trying again");
    assert.equal(await page.isDisabled("#send"), true);
  }
  // What is written meanwhile is not lost.
  await pages[0].fill("#text", "meanwhile");
  await pages[0].press("#text", "Enter");
  assert.equal(await pages[0].inputValue("#text"), "meanwhile");
  await example.again();
  for (const page of pages) await until(() => state(page), "connected");
  for (const page of pages) await until(() => present(page), "Present: Ann, Bob");
  await pages[0].press("#text", "Enter");
  await say(pages[1], "after");
  for (const page of pages) {
    await until(async () => (await lines(page, ":not(.event)")).sort(), ["Ann: meanwhile", "Bob: after"]);
  }
});

await checkLooks("chat", "chat", async (scene, mode) => {
  const { url } = await scene.start("chat");
  const ann = await join(scene, url, "Ann", mode);
  const bob = await join(scene, url, "Bob");
  const talk = [[ann, "Good morning. Is the release out?"], [bob, "Since an hour. The notes are on the wiki, " +
    "together with the list of those who helped."], [ann, "Hooray!"]];
  for (let number = 0; number < 6; number += 1) {
    for (const [page, message] of talk) await say(page, message);
  }
  await until(async () => (await texts(ann, "#log li:not(.event)")).length, 18);
  return ann;
});

await checkLooks("chat", "chat-door", async (scene, mode) => scene.open((await scene.start("chat")).url, mode));

await exit();

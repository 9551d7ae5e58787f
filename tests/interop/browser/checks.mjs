// Checks, each with servers and windows of its own that are ended after it.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";
import { Example } from "./example.mjs";

export const DESKTOP = { viewport: { width: 1280, height: 800 } };
export const DARK = { ...DESKTOP, colorScheme: "dark" };
export const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

// What Chromium says of a server that is away.
const OF_OUTAGE = /net::ERR_(CONNECTION_|INCOMPLETE_CHUNKED|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)/;
const OF_SOCKET = /WebSocket connection to .* failed/;

let failed = 0;
let browser;

// The servers and windows of a check.
class Scene {
  #contexts = [];
  #examples = [];
  problems = [];
  #outage = false;

  async start(name, ...options) {
    const example = await Example.start(name, options);
    this.#examples.push(example);
    return example;
  }

  // Ends the server without a word. Its address stays.
  async kill(example) {
    this.#outage = true;
    await example.kill();
  }

  async open(url, mode = DESKTOP) {
    browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-proxy-server"] });
    const context = await browser.newContext({ locale: "en-GB", colorScheme: "light", ...mode });
    context.setDefaultTimeout(8_000);
    this.#contexts.push(context);
    const page = await context.newPage();
    page.on("pageerror", (error) => this.problems.push(`error of a page: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.#note(message.text());
    });
    await page.goto(url);
    return page;
  }

  #note(text) {
    if (!this.#outage || !(OF_OUTAGE.test(text) || OF_SOCKET.test(text))) this.problems.push(`console: ${text}`);
  }

  async end() {
    await Promise.allSettled(this.#contexts.map((context) => context.close()));
    await Promise.allSettled(this.#examples.map((example) => example.kill()));
  }
}

// Runs a check. It has failed, too, if a page throws an error or writes one to the console.
export async function check(peer, title, body, limit = 25_000) {
  const scene = new Scene();
  const timer = new AbortController();
  const late = sleep(limit, undefined, { signal: timer.signal }).then(() => assert.fail(`not within ${limit} ms`));
  late.catch(() => {});
  try {
    await Promise.race([body(scene), late]);
    assert.deepEqual(scene.problems, []);
    console.log(`ok      ${peer}: ${title}`);
  } catch (error) {
    failed += 1;
    const why = [error.message, ...scene.problems].join(" / ").replaceAll(/\s*\n\s*/g, " ");
    console.log(`FAILED  ${peer}: ${title}: ${why.slice(0, 1500)}`);
  } finally {
    timer.abort();
    await scene.end();
  }
}

export async function exit() {
  await browser?.close();
  process.exit(failed ? 1 : 0);
}

// Waits until a value is as expected, or a function of it is true.
export async function until(read, expected, limit = 10_000) {
  const end = Date.now() + limit;
  const judge = typeof expected === "function"
    ? (found) => assert.ok(expected(found), `${JSON.stringify(found)}: not ${expected}`)
    : (found) => assert.deepEqual(found, expected);
  for (;;) {
    const found = await read();
    try {
      judge(found);
      return found;
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(25);
    }
  }
}

export const text = (page, selector) => page.locator(selector).first().textContent();

export const texts = (page, selector) => page.locator(selector).allTextContents();

export { assert, sleep };

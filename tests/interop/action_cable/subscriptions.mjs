// The client of Rails, unmodified, in Node. It expects a browser: `document` and listeners of its window that do
// nothing suffice.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";

globalThis.addEventListener ??= () => {};
globalThis.removeEventListener ??= () => {};
globalThis.document ??= { visibilityState: "visible" };
const { adapters, createConsumer } = await import("@rails/actioncable");
adapters.WebSocket = WebSocket;

let failed = 0;

// Runs a check, which gets a function that connects, and ends its connections.
export async function check(peer, url, title, body) {
  const consumers = [];
  const connect = (query = "") => {
    const consumer = createConsumer(url + query);
    consumers.push(consumer);
    return consumer;
  };
  try {
    await Promise.race([body(connect), sleep(20_000).then(() => assert.fail("not within 20 s"))]);
    console.log(`ok      ${peer}: ${title}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${peer}: ${title}: ${error.message.replaceAll("\n", " ")}`);
  } finally {
    consumers.forEach((consumer) => consumer.disconnect());
  }
}

export const exit = () => process.exit(failed ? 1 : 0);

// A list whose items may be awaited by what they are.
export class Waiting {
  items = [];
  #waiting = [];

  push(item) {
    this.items.push(item);
    this.#waiting.splice(0).forEach((wake) => wake());
  }

  async next(is) {
    for (;;) {
      const index = this.items.findIndex(is);
      if (index >= 0) return this.items.splice(index, 1)[0];
      await new Promise((wake) => this.#waiting.push(wake));
    }
  }
}

// A subscription whose events may be awaited.
export function subscribe(consumer, params) {
  const waiting = new Waiting();
  const note = (name) => (value) => waiting.push([name, value]);
  const names = ["connected", "disconnected", "rejected", "received"];
  const handlers = Object.fromEntries(names.map((name) => [name, note(name)]));
  const subscription = consumer.subscriptions.create(params, handlers);
  const next = async (name) => (await waiting.next(([known]) => known === name))[1];
  return { subscription, events: waiting.items, next };
}

export const chat = (room) => ({ channel: "ChatChannel", room });

// Checks with official clients: each gets a function that connects, and its clients are closed.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

let failed = 0;

export async function check(peer, title, connectTo, body) {
  const clients = [];
  const connect = (...parameters) => {
    const client = connectTo(...parameters);
    clients.push(client);
    return client;
  };
  try {
    await Promise.race([body(connect), sleep(20_000).then(() => assert.fail("not within 20 s"))]);
    console.log(`ok      ${peer}: ${title}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${peer}: ${title}: ${error.message.replaceAll("\n", " ")}`);
  } finally {
    clients.forEach((client) => client.close());
  }
}

// The arguments of the next event.
export const next = (emitter, event) =>
  new Promise((resolve) => emitter.once(event, (...values) => resolve(values)));

export const exit = () => process.exit(failed ? 1 : 0);
export { assert, sleep };

// The client of AnyCable in Node, with the extended protocol.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { createCable } from "@anycable/core";
import WebSocket from "ws";
import { Waiting } from "./subscriptions.mjs";

let failed = 0;

// Runs a check, which gets a function that connects, and ends its connections.
export async function check(peer, url, title, body) {
  const cables = [];
  const connect = (options = {}, target = url) => {
    const cable = createCable(target, {
      websocketImplementation: WebSocket,
      protocol: "actioncable-v1-ext-json",
      protocolOptions: { pongs: true },
      logLevel: "error",
      ...options,
    });
    cables.push(cable);
    return cable;
  };
  try {
    await Promise.race([body(connect), sleep(25_000).then(() => assert.fail("not within 25 s"))]);
    console.log(`ok      ${peer}: ${title}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${peer}: ${title}: ${error.message.replaceAll("\n", " ")}`);
  } finally {
    cables.forEach((cable) => cable.disconnect());
  }
}

// A channel whose events may be awaited.
export async function subscribe(cable, room) {
  const channel = cable.subscribeTo("ChatChannel", { room });
  const waiting = new Waiting();
  for (const name of ["message", "presence", "connect", "disconnect", "info"]) {
    channel.on(name, (value, meta) => waiting.push([name, value, meta]));
  }
  await channel.ensureSubscribed();
  const next = async (name) => (await waiting.next(([known]) => known === name)).slice(1);
  await next("connect");
  return { channel, next, events: waiting.items };
}

export const exit = () => process.exit(failed ? 1 : 0);

// The client of AnyCable, with both protocols: node anycable.mjs URL
import assert from "node:assert/strict";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { check, exit, subscribe } from "./cables.mjs";

const url = new URL(process.argv[2]);

// A line to the server that can be cut.
async function line() {
  const pairs = new Set();
  const server = net.createServer((client) => {
    const upstream = net.connect(url.port, url.hostname);
    pairs.add(client).add(upstream);
    client.pipe(upstream).pipe(client);
    [client, upstream].forEach((socket) => socket.on("error", () => {}));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const target = new URL(url);
  target.port = server.address().port;
  const cut = () => pairs.forEach((socket) => socket.resetAndDestroy());
  const end = () => {
    cut();
    server.close();
  };
  return { target: target.href, cut, end };
}

const room = () => `room ${Math.random()}`;

await check("anycable", url.href, "both protocols: an action reaches all of its room", async (connect) => {
  const name = room();
  const [ann, bob] = [
    await subscribe(connect(), name),
    await subscribe(connect({ protocol: "actioncable-v1-json", protocolOptions: {} }), name),
  ];
  ann.channel.perform("speak", { body: "☃ <b>" });
  const [message, meta] = await ann.next("message");
  assert.deepEqual([message, meta.stream, meta.offset], [{ body: "☃ <b>" }, `chat:${name}`, 1]);
  assert.deepEqual((await bob.next("message"))[0], { body: "☃ <b>" });
});

await check("anycable", url.href, "a client that comes later gets the history that it asks for", async (connect) => {
  const name = room();
  const ann = await subscribe(connect(), name);
  for (let number = 1; number <= 120; number += 1) ann.channel.perform("speak", { body: number });
  for (let number = 1; number <= 120; number += 1) await ann.next("message");
  const bob = await subscribe(connect({ historyTimestamp: Math.floor(Date.now() / 1000) - 60 }), name);
  for (let number = 21; number <= 120; number += 1) {
    const [message, meta] = await bob.next("message");
    assert.deepEqual([message.body, meta.offset], [number, number]);
  }
});

await check("anycable", url.href, "a client whose line was cut has its session again, and what it has missed", async (connect) => {
  const [name, wire] = [room(), await line()];
  const cable = connect({}, wire.target);
  const [ann, bob] = [await subscribe(cable, name), await subscribe(connect(), name)];
  ann.channel.presence.join("ann", { name: "Ann" });
  await bob.next("presence");
  bob.channel.perform("speak", { body: 1 });
  await ann.next("message");
  wire.cut();
  for (let number = 2; number <= 20; number += 1) bob.channel.perform("speak", { body: number });
  await ann.next("connect").then(([event]) => assert.deepEqual(event, { reconnect: true, restored: true }));
  bob.channel.perform("speak", { body: 21 });
  for (let number = 2; number <= 21; number += 1) assert.equal((await ann.next("message"))[0].body, number);
  assert.equal((await ann.next("info"))[0].type, "history_received");
  await sleep(1000);
  assert.deepEqual(ann.events.filter(([kind]) => kind === "message"), []);
  assert.deepEqual(bob.events.filter(([kind]) => kind === "presence"), [], "she was never away");
  wire.end();
});

await check("anycable", url.href, "a whisper reaches the others only", async (connect) => {
  const name = room();
  const [ann, bob] = [await subscribe(connect(), name), await subscribe(connect(), name)];
  ann.channel.whisper({ event: "typing" });
  const [message, meta] = await bob.next("message");
  assert.deepEqual([message, meta], [{ event: "typing" }, undefined]);
  await sleep(200);
  assert.deepEqual(ann.events.filter(([kind]) => kind === "message"), []);
});

await check("anycable", url.href, "presence tells who comes, who is there and who leaves", async (connect) => {
  const name = room();
  const [ann, bob] = [await subscribe(connect(), name), await subscribe(connect(), name)];
  ann.channel.presence.join("ann", { name: "Ann" });
  for (const client of [ann, bob]) {
    assert.deepEqual((await client.next("presence"))[0], { type: "join", id: "ann", info: { name: "Ann" } });
  }
  assert.deepEqual(await bob.channel.presence.info(), { ann: { name: "Ann" } });
  ann.channel.presence.leave();
  assert.equal((await bob.next("presence").then(() => bob.next("presence")))[0].type, "leave");
});

await check("anycable", url.href, "answers to pings keep a connection, and without them it ends", async (connect) => {
  const [answering, silent] = [connect(), connect({ protocolOptions: {} })];
  const reasons = [];
  silent.on("disconnect", (event) => reasons.push(event.reason ?? event.message));
  answering.on("disconnect", () => reasons.push("answering"));
  await Promise.all([answering.connect(), silent.connect()]);
  await sleep(9000);
  assert.deepEqual([...new Set(reasons)], ["no_pong"]);
});

exit();

// Servers of this crate and one of Node, joined by an adapter: node cluster.mjs ADAPTER REDIS OURS OTHER NODE
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { io } from "socket.io-client";
import { assert, check, exit, next, sleep } from "./checks.mjs";

const [adapter, redis, ours, other, node] = process.argv.slice(2);
const pairs = { "ours to Node": [ours, node], "Node to ours": [node, ours], "ours to ours": [ours, other] };
const to = (url) => io(url, { forceNew: true, reconnection: false, transports: ["websocket"] });

// Two clients, one of each server, which are connected.
async function two(connect, urls) {
  const sockets = urls.map((url) => connect(url));
  await Promise.all(sockets.map((socket) => next(socket, "connect")));
  return sockets;
}

// Joins a room. Its channel is subscribed a moment later.
async function join(socket, room) {
  await socket.emitWithAck("join", room);
  if (adapter === "sharded") await sleep(200);
}

// The arguments of an event. With recovery the last one is its offset.
const plain = (values) => (adapter === "streams" ? values.slice(0, -1) : values);

// Runs a call until its result is as expected: other servers learn of a change a moment later.
async function until(call, expected) {
  let found;
  for (let tries = 0; tries < 100; tries += 1) {
    found = await call();
    if (JSON.stringify(found) === JSON.stringify(expected)) return;
    await sleep(20);
  }
  assert.deepEqual(found, expected);
}

const answers = (socket, event, ...values) =>
  new Promise((resolve) => socket.emit(event, ...values, (...results) => resolve(results)));

for (const [name, urls] of Object.entries(pairs)) {
  await check(adapter, `broadcasts by room, to the others, and to all (${name})`, to, async (connect) => {
    const [a, b] = await two(connect, urls);
    const received = [];
    b.on("e", (...values) => received.push(plain(values)));
    await join(b, "x");
    await a.emitWithAck("emit", { to: "x", event: "e", args: ["room"] });
    await a.emitWithAck("emit", { to: ["x", "y"], event: "e", args: ["rooms"] });
    await a.emitWithAck("emit", { except: "x", event: "e", args: ["not for x"] });
    await a.emitWithAck("emit", { local: true, event: "e", args: ["not for others"] });
    await a.emitWithAck("emit", { from: "socket", event: "e", args: ["others", { deep: [1, null, 1.5, "é"] }] });
    await a.emitWithAck("emit", { to: b.id, event: "e", args: ["by id"] });
    await a.emitWithAck("emit", { event: "e", args: [Buffer.from([1, 2]), { b: Buffer.from([3]) }] });
    while (received.length < 5) await sleep(10);
    const [bytes, { b: inner }] = received.splice(received.findIndex(([first]) => Buffer.isBuffer(first)), 1)[0];
    assert.deepEqual([[...bytes], [...inner]], [[1, 2], [3]]);
    const expected = [["room"], ["rooms"], ["others", { deep: [1, null, 1.5, "é"] }], ["by id"]];
    // Channels on several nodes have no common order.
    const ordered = (list) => (adapter === "sharded" ? list.map((item) => JSON.stringify(item)).sort() : list);
    assert.deepEqual(ordered(received), ordered(expected));
  });

  await check(adapter, `a broadcast collects the acks of all servers (${name})`, to, async (connect) => {
    const [a, b] = await two(connect, urls);
    for (const socket of [a, b]) await socket.emitWithAck("join", "acks");
    a.on("q", (answer) => answer("a"));
    b.on("q", (answer) => answer({ b: [1] }));
    const [error, all] = await answers(a, "emit-ack", { to: "acks", event: "q", timeout: 3000 });
    assert.deepEqual([error, all.map((value) => JSON.stringify(value)).sort()], [null, ['"a"', '{"b":[1]}']]);
    b.off("q");
    const late = await answers(a, "emit-ack", { to: "acks", event: "q", timeout: 500 });
    assert.deepEqual(late, ["timeout", ["a"]]);
  });

  await check(adapter, `sockets are fetched, moved and disconnected (${name})`, to, async (connect) => {
    const [a, b] = await two(connect, urls);
    await b.emitWithAck("join", "fetched");
    await b.emitWithAck("data", { name: "bob" });
    const fetched = await a.emitWithAck("fetch", { to: "fetched" });
    assert.deepEqual(fetched, [{ id: b.id, rooms: [b.id, "fetched"].sort(), data: { name: "bob" } }]);
    await a.emitWithAck("sockets-join", { to: "fetched", rooms: ["m1", "m2"] });
    await until(() => b.emitWithAck("room-size", "m1"), 1);
    await a.emitWithAck("sockets-leave", { to: "m2", rooms: ["m1"] });
    await until(() => b.emitWithAck("room-size", "m1"), 0);
    const end = next(b, "disconnect");
    await a.emitWithAck("disconnect-sockets", { to: "m2" });
    assert.deepEqual((await end)[0], "io server disconnect");
  });

  await check(adapter, `servers talk to each other (${name})`, to, async (connect) => {
    const [a, b] = await two(connect, urls);
    const [own, others] = [[], []];
    a.on("hello", (...values) => own.push(values));
    b.on("hello", (...values) => others.push(values));
    await a.emitWithAck("server-emit", ["x", 1]);
    while (!others.length) await sleep(10);
    assert.deepEqual([own, others], [[], [["x", 1]]]);
    const [error, all] = await answers(a, "server-ask", [7]);
    assert.deepEqual([error, all], [null, [{ got: [7] }, { got: [7] }]]);
  });

  await check(adapter, `10,000 broadcasts arrive once each, in their order (${name})`, to, async (connect) => {
    const [a, b] = await two(connect, urls);
    const received = [];
    b.on("storm", (number) => received.push(number));
    for (let number = 0; number < 10_000; number += 1) a.emit("emit", { event: "storm", args: [number] }, () => {});
    while (received.length < 10_000) await sleep(20);
    await sleep(100);
    assert.deepEqual(received, Array.from({ length: 10_000 }, (_, number) => number));
  });
}

if (adapter === "streams") {
  for (const [name, urls] of Object.entries({ ...pairs, "ours to itself": [ours, ours] })) {
    await check(adapter, `a client that was cut comes back to another server (${name})`, to, async (connect) => {
      const [a, sender] = await two(connect, [urls[0], urls[0]]);
      await a.emitWithAck("join", "back");
      await a.emitWithAck("data", { name: "ann" });
      const first = next(a, "e");
      await sender.emitWithAck("emit", { to: "back", event: "e", args: ["first"] });
      await first;
      const { id, _pid, _lastOffset } = a;
      assert.ok(_pid && _lastOffset);
      a.io.engine.close();
      await sleep(100);
      for (let number = 0; number < 250; number += 1) {
        await sender.emitWithAck("emit", { to: number % 2 ? "back" : "others", event: "e", args: [number] });
      }
      await sender.emitWithAck("emit", { except: "back", event: "e", args: ["not for it"] });
      const received = [];
      const b = connect(urls[1]);
      Object.assign(b, { _pid, _lastOffset });
      b.on("e", (...values) => received.push(plain(values)));
      await next(b, "connect");
      assert.deepEqual([b.recovered, b.id], [true, id]);
      await sender.emitWithAck("emit", { to: "back", event: "e", args: ["live", Buffer.from([1])] });
      while (received.length < 126) await sleep(10);
      const live = received.pop();
      assert.deepEqual([live[0], [...live[1]]], ["live", [1]]);
      assert.deepEqual(received, Array.from({ length: 125 }, (_, number) => [2 * number + 1]));
      assert.equal(await b.emitWithAck("room-size", "back"), 1);
      // A recovery id is of one namespace, and is used once.
      const c = connect(urls[1]);
      Object.assign(c, { _pid, _lastOffset });
      await next(c, "connect");
      assert.deepEqual([c.recovered, c.id === id], [false, false]);
    });
  }
}

if (adapter === "streams") {
  await check(adapter, "a client does not come back to another namespace, nor to an offset that there is not", to, async (connect) => {
    for (const [path, change] of [["/custom", {}], ["", { _lastOffset: "1-1" }], ["", { _lastOffset: "9999999999999-0" }]]) {
      const a = connect(ours);
      await next(a, "connect");
      const first = next(a, "e");
      await a.emitWithAck("emit", { event: "e", args: [] });
      await first;
      const { _pid, _lastOffset } = a;
      a.io.engine.close();
      await sleep(100);
      const b = connect(ours + path);
      Object.assign(b, { _pid, _lastOffset, ...change });
      await next(b, "connect");
      assert.equal(b.recovered, false, path + JSON.stringify(change));
    }
  });
}

if (adapter === "pub-sub") {
  await check(adapter, "an emitter reaches the clients of all servers", to, async (connect) => {
    const sockets = await two(connect, [ours, other, node]);
    const client = createClient({ url: redis });
    await client.connect();
    const emitter = new Emitter(client);
    for (const socket of sockets) await socket.emitWithAck("join", "by emitter");
    const got = sockets.map((socket) => next(socket, "e"));
    emitter.to("by emitter").emit("e", 1, Buffer.from([2]));
    for (const [number, bytes] of await Promise.all(got)) assert.deepEqual([number, [...bytes]], [1, [2]]);
    emitter.in("by emitter").socketsJoin("joined");
    for (const socket of sockets) await until(() => socket.emitWithAck("room-size", "joined"), 1);
    const hello = sockets.map((socket) => next(socket, "hello"));
    emitter.serverSideEmit("hello", "all");
    for (const values of await Promise.all(hello)) assert.deepEqual(values, ["all"]);
    const ends = sockets.map((socket) => next(socket, "disconnect"));
    emitter.in("joined").disconnectSockets();
    await Promise.all(ends);
    await client.quit();
  });
}

// A client of one node publishes only the channels of its slots.
if (redis !== "none") {
  await check(adapter, "garbage on the channels is ignored", to, async (connect) => {
    const [a, b] = await two(connect, [ours, other]);
    await a.emitWithAck("join", "room");
    const client = createClient({ url: redis });
    await client.connect();
    const garbage = ["", "x", '{"type":3,"uid":"x","nsp":"/","data":{"opts":1}}', "{", "{}", '{"type":99}', '{"type":5,"uid":"x"}', "[".repeat(100_000), "\u0093\u0001"];
    const channels = {
      "pub-sub": ["socket.io#/#", "socket.io-request#/#", "socket.io-response#/#", "socket.io#/#room#"],
      sharded: ["socket.io#/#", "socket.io#/#room#"],
      streams: ["socket.io#/#"],
    };
    const publish = adapter === "sharded" ? "sPublish" : "publish";
    for (const channel of channels[adapter]) {
      for (const text of [...garbage, Buffer.alloc(100_000, 0x91)]) await client[publish](channel, text);
    }
    if (adapter === "streams") {
      for (const data of [...garbage, '{"packet":1,"opts":{}}'].filter((text) => typeof text === "string")) {
        await client.xAdd("socket.io", "*", { uid: "x", nsp: "/", type: "3", data });
        await client.xAdd("socket.io", "*", { nsp: "/", data });
      }
    }
    await client.quit();
    const got = next(b, "e");
    await a.emitWithAck("emit", { event: "e", args: ["still there"] });
    assert.deepEqual(plain(await got), ["still there"]);
  });
}

exit();

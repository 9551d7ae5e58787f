// Rooms, broadcasts and the rest with socket.io-client, against `abuse`: node operations.mjs URL
import { io } from "socket.io-client";
import { assert, check, exit, next, sleep } from "./checks.mjs";

const url = process.argv[2];
const to = (path = "/", options = {}) => io(`${url}${path}`, { forceNew: true, reconnection: false, ...options });

// Connected sockets of a namespace of the check's own.
let names = 0;
async function some(connect, count, transports = [["websocket"], ["polling"], ["polling", "websocket"]]) {
  names += 1;
  const sockets = Array.from({ length: count }, (_, index) =>
    connect(`/dyn-${names}`, { transports: transports[index % transports.length] }));
  await Promise.all(sockets.map((socket) => next(socket, "connect")));
  return sockets;
}

await check("operations", "rooms choose who gets a broadcast, once each", to, async (connect) => {
  const [a, b, c] = await some(connect, 3);
  await a.emitWithAck("join", ["1", "2"]);
  await b.emitWithAck("join", "2");
  const received = { a: [], b: [], c: [] };
  for (const [name, socket] of Object.entries({ a, b, c })) socket.on("e", (value) => received[name].push(value));
  await c.emitWithAck("emit", { to: ["1", "2"], event: "e", args: ["rooms"] });
  await c.emitWithAck("emit", { to: "2", except: "1", event: "e", args: ["except"] });
  await a.emitWithAck("emit", { from: "socket", event: "e", args: ["others"] });
  await a.emitWithAck("emit", { to: c.id, event: "e", args: ["by id"] });
  await a.emitWithAck("emit", { event: "e", args: ["all"] });
  while (received.c.length < 3 || received.b.length < 4 || received.a.length < 2) await sleep(10);
  assert.deepEqual(received, {
    a: ["rooms", "all"], b: ["rooms", "except", "others", "all"], c: ["others", "by id", "all"],
  });
});

await check("operations", "binary values are broadcast to all transports", to, async (connect) => {
  const sockets = await some(connect, 3);
  const waiting = sockets.map((socket) => next(socket, "e"));
  await sockets[0].emitWithAck("emit", { event: "e", args: [{ b: Buffer.from([1, 2]) }, Buffer.from([3])] });
  for (const [first, second] of await Promise.all(waiting)) {
    assert.deepEqual([[...first.b], [...second]], [[1, 2], [3]]);
  }
});

await check("operations", "a broadcast collects acks, or times out with those that came", to, async (connect) => {
  const sockets = await some(connect, 3);
  sockets.forEach((socket, index) => socket.on("q", (answer) => answer(index)));
  const [error, answers] = await new Promise((resolve) =>
    sockets[0].emit("emit-ack", { event: "q", timeout: 2000 }, (...values) => resolve(values)));
  assert.deepEqual([error, answers.sort()], [null, [0, 1, 2]]);
  sockets[1].off("q");
  const late = await new Promise((resolve) =>
    sockets[0].emit("emit-ack", { event: "q", timeout: 300 }, (...values) => resolve(values)));
  assert.deepEqual([late[0], late[1].sort()], ["timeout", [0, 2]]);
  assert.equal((await sockets[0].emitWithAck("counts")).acks, 0);
});

await check("operations", "sockets are fetched, moved and disconnected", to, async (connect) => {
  const [a, b, c] = await some(connect, 3);
  await b.emitWithAck("join", "x");
  await b.emitWithAck("data", { name: "bob" });
  const fetched = await a.emitWithAck("fetch", { to: "x" });
  assert.deepEqual(fetched, [{ id: b.id, rooms: [b.id, "x"].sort(), data: { name: "bob" } }]);
  await a.emitWithAck("sockets-join", { to: c.id, rooms: ["x", "y"] });
  assert.equal(await a.emitWithAck("room-size", "x"), 2);
  await a.emitWithAck("sockets-leave", { to: "x", rooms: "y" });
  assert.equal(await a.emitWithAck("room-size", "y"), 0);
  const ends = [b, c].map((socket) => next(socket, "disconnect"));
  await a.emitWithAck("disconnect-sockets", { to: "x" });
  const reasons = (await Promise.all(ends)).map(([reason]) => reason);
  assert.deepEqual(reasons, ["io server disconnect", "io server disconnect"]);
  assert.deepEqual((await a.emitWithAck("disconnects")).map(([, reason]) => reason),
    ["server namespace disconnect", "server namespace disconnect"]);
});

await check("operations", "the server asks its clients, with a time-out", to, async (connect) => {
  const [a] = await some(connect, 1);
  a.on("question", (value, answer) => answer(value, "x"));
  const ask = (query) => new Promise((resolve) => a.emit("ask", query, (...values) => resolve(values)));
  assert.deepEqual(await ask({ args: [7], timeout: 2000 }), [null, [7, "x"]]);
  a.off("question");
  assert.deepEqual(await ask({ args: [7], timeout: 200 }), ["timeout"]);
});

await check("operations", "middleware refuses with data, and takes its time", to, async (connect) => {
  const [error] = await next(connect("/", { auth: { refuse: true } }), "connect_error");
  assert.deepEqual([error.message, error.data], ["refused", { code: 7 }]);
  const slow = connect("/", { auth: { slow: 300 } });
  const started = Date.now();
  await next(slow, "connect");
  assert.ok(Date.now() - started >= 290);
  assert.equal(await slow.emitWithAck("room-size", "refused"), 0);
});

await check("operations", "a socket leaves with its reason", to, async (connect) => {
  const [watcher, ...sockets] = await some(connect, 4);
  const ids = sockets.map((socket) => socket.id);
  const acts = [
    (socket) => socket.disconnect(),
    (socket) => socket.emit("kick", true),
    (socket) => socket.io.engine.transport.doClose?.(),
  ];
  sockets.forEach((socket, index) => acts[index](socket));
  let ends = [];
  for (let tries = 0; tries < 50 && ends.length < 3; tries += 1) {
    await sleep(100);
    ends = await watcher.emitWithAck("disconnects");
  }
  const reasons = Object.fromEntries(ends);
  assert.equal(reasons[ids[0]], "client namespace disconnect");
  assert.equal(reasons[ids[1]], "server namespace disconnect");
  assert.ok(["transport close", "transport error"].includes(reasons[ids[2]]), reasons[ids[2]]);
});

await check("operations", "dynamic namespaces are gone with their last socket", to, async (connect) => {
  const sockets = await some(connect, 2);
  const watcher = connect("/");
  await next(watcher, "connect");
  const before = (await watcher.emitWithAck("counts")).namespaces;
  sockets.forEach((socket) => socket.disconnect());
  for (let tries = 0; tries < 50; tries += 1) {
    if ((await watcher.emitWithAck("counts")).namespaces === before - 1) return;
    await sleep(50);
  }
  assert.fail("the namespace is still there");
});

await check("operations", "servers of a cluster of one answer nothing", to, async (connect) => {
  const [a] = await some(connect, 1);
  await a.emitWithAck("server-emit", [1]);
  const answer = await new Promise((resolve) => a.emit("server-ask", [1], (...values) => resolve(values)));
  assert.deepEqual(answer, [null, []]);
});

exit();

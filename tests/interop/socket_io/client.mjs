// socket.io-client against three servers: node client.mjs SOCKET_CLIENT SOCKET_PROTOCOL MSGPACK (URLs)
import { io } from "socket.io-client";
import parser from "socket.io-msgpack-parser";
import { assert, check, exit, next, sleep } from "./checks.mjs";

const [url, protocol, msgpack] = process.argv.slice(2);
const ways = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };
const connector = (target, transports) => (path = "/", options = {}) =>
  io(`${target}${path}`, { forceNew: true, transports, ...options });

for (const [way, transports] of Object.entries(ways)) {
  const to = connector(url, transports);

  await check("socket.io-client", `events, acks and binary values (${way})`, to, async (connect) => {
    const socket = connect();
    await next(socket, "connect");
    socket.emit("hi");
    await next(socket, "hi");
    const value = { a: [1, null, "é"], b: Buffer.from([1, 2, 3]) };
    const back = await socket.timeout(3000).emitWithAck("echo", value);
    assert.deepEqual({ ...back, b: [...back.b] }, { ...value, b: [1, 2, 3] });
    socket.emit("getbin");
    assert.equal(Buffer.from((await next(socket, "takebin"))[0]).toString(), "asdfasdf");
    const id = await socket.emitWithAck("getId");
    assert.equal(id, socket.id);
  });

  await check("socket.io-client", `the server's acks (${way})`, to, async (connect) => {
    const socket = connect();
    await next(socket, "connect");
    socket.on("ack", (answer) => answer(5, { test: true }));
    socket.emit("ack");
    await next(socket, "got it");
  });

  const toProtocol = connector(protocol, transports);
  await check("socket.io-client", `500 events in their order (${way})`, toProtocol, async (connect) => {
    const socket = connect();
    const received = [];
    socket.on("message-back", (number) => received.push(number));
    await next(socket, "connect");
    for (let number = 0; number < 500; number += 1) socket.emit("message", number);
    while (received.length < 500) await sleep(10);
    assert.deepEqual(received, Array.from({ length: 500 }, (_, number) => number));
  });
}

const to = connector(url);

const sharing = (path) => io(`${url}${path}`);
await check("socket.io-client", "namespaces share a connection", sharing, async (connect) => {
  const [main, foo] = [connect("/"), connect("/foo")];
  await Promise.all([main, foo].map((socket) => next(socket, "connect")));
  assert.equal(main.io, foo.io);
  assert.notEqual(main.id, foo.id);
  assert.equal(await foo.emitWithAck("getId"), foo.id);
  foo.disconnect();
  assert.equal(await main.emitWithAck("getId"), main.id);
});

await check("socket.io-client", "middleware and unknown namespaces refuse", to, async (connect) => {
  assert.equal((await next(connect("/no"), "connect_error"))[0].message, "Auth failed (custom namespace)");
  assert.equal((await next(connect("/unknown"), "connect_error"))[0].message, "Invalid namespace");
  const failing = connect("/", { query: { fail: true } });
  assert.equal((await next(failing, "connect_error"))[0].message, "Auth failed (main namespace)");
});

await check("socket.io-client", "the handshake is known", to, async (connect) => {
  const socket = connect("/abc", { auth: { token: "x" }, query: { a: "b c" }, extraHeaders: { "x-own": "1" } });
  const [handshake] = await next(socket, "handshake");
  assert.equal(handshake.query.a, "b c");
  assert.equal(handshake.auth.token, "x");
  assert.equal(handshake.headers["x-own"], "1");
  assert.equal(handshake.address, "127.0.0.1");
  assert.equal(handshake.secure, false);
});

await check("socket.io-client", "a connection that was cut is recovered", to, async (connect) => {
  const socket = connect();
  await next(socket, "connect");
  socket.emit("hi");
  await next(socket, "hi");
  const { id } = socket;
  socket.io.engine.close();
  await next(socket, "connect");
  assert.ok(socket.recovered);
  assert.equal(socket.id, id);
});

await check("socket.io-client", "a client that retries is answered once for each event", to, async (connect) => {
  const socket = connect("/", { retries: 3, ackTimeout: 1000 });
  const answers = await Promise.all([1, 2, 3].map((number) => socket.emitWithAck("echo", number)));
  assert.deepEqual(answers, [1, 2, 3]);
});

for (const [way, transports] of Object.entries(ways)) {
  const toMsgpack = () => io(msgpack, { forceNew: true, transports, parser, auth: { token: "x" } });
  await check("socket.io-client", `packets in MessagePack (${way})`, toMsgpack, async (connect) => {
    const socket = connect();
    assert.deepEqual(await next(socket, "auth"), [{ token: "x" }]);
    socket.emit("message", 1, "é", { b: Buffer.from([1]), n: null });
    const [number, text, value] = await next(socket, "message-back");
    assert.deepEqual([number, text, [...value.b], value.n], [1, "é", [1], null]);
    const answer = await socket.emitWithAck("message-with-ack", Buffer.from([2]));
    assert.deepEqual([...answer], [2]);
    socket.on("emit-with-ack", (given, ack) => ack(given + 1));
    socket.emit("emit-with-ack", 7);
    assert.deepEqual(await next(socket, "emit-with-ack-back"), [8]);
  });
}

exit();

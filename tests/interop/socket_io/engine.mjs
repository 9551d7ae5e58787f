// engine.io-client against `engine-client` and `engine-protocol`: node engine.mjs URL ECHO_URL
import { Socket } from "engine.io-client";
import { assert, check, exit, next, sleep } from "./checks.mjs";

const [url, echo] = process.argv.slice(2);
const to = (target, options = {}) => () => new Socket(target, options);
const ways = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

for (const [way, transports] of Object.entries(ways)) {
  await check("engine.io-client", `texts and binary messages come back in order (${way})`,
    to(echo, { transports }), async (connect) => {
    const socket = connect();
    await next(socket, "open");
    if (way === "upgrade") await next(socket, "upgrade");
    const received = [];
    socket.on("message", (data) => received.push(typeof data === "string" ? data : Buffer.from(data).toString("hex")));
    const expected = [];
    for (let number = 0; number < 200; number += 1) {
      socket.send(`text ${number} é`);
      socket.send(Buffer.from([number, 255]));
      expected.push(`text ${number} é`, Buffer.from([number, 255]).toString("hex"));
    }
    while (received.length < 400) await sleep(10);
    assert.deepEqual(received, expected);
    assert.equal(socket.transport.name, way === "polling" ? "polling" : "websocket");
  });

  await check("engine.io-client", `a session outlives many pings (${way})`,
    to(echo, { transports }), async (connect) => {
    const socket = connect();
    let pings = 0;
    socket.on("ping", () => (pings += 1));
    socket.on("close", (reason) => assert.fail(`closed: ${reason}`));
    await sleep(2000);
    assert.ok(pings >= 5, `${pings} pings`);
    socket.off("close");
  });
}

await check("engine.io-client", "messages sent during the upgrade are not lost", to(echo), async (connect) => {
  const socket = connect();
  const received = [];
  socket.on("message", (data) => received.push(data));
  await next(socket, "open");
  for (let number = 0; number < 100; number += 1) {
    socket.send(`${number}`);
    await sleep(1);
  }
  while (received.length < 100) await sleep(10);
  assert.deepEqual(received, Array.from({ length: 100 }, (_, number) => `${number}`));
});

await check("engine.io-client", "a handshake that is denied is an error",
  to(url, { transports: ["polling"], query: { deny: 1 } }), async (connect) => {
  const [error] = await next(connect(), "error");
  assert.equal(error.context.status ?? error.description, 403);
});

await check("engine.io-client", "a message over the limit ends the session",
  to(url, { transports: ["websocket"] }), async (connect) => {
  const socket = connect();
  await next(socket, "open");
  socket.send("x".repeat(200));
  const [reason] = await next(socket, "close");
  assert.equal(reason, "transport close");
});

await check("engine.io-client", "cookies of the handshake are sent back",
  to(url, { transports: ["polling"], withCredentials: true }), async (connect) => {
  const socket = connect();
  await next(socket, "open");
  await next(socket, "message");
  socket.send("sendHeaders");
  const [headers] = await next(socket, "message");
  assert.equal(JSON.parse(headers).cookie, "1=1; 2=2");
});

await check("engine.io-client", "long responses are compressed",
  to(echo, { transports: ["polling"] }), async (connect) => {
  const socket = connect();
  await next(socket, "open");
  const long = "long ".repeat(20_000);
  socket.send(long);
  assert.equal((await next(socket, "message"))[0], long);
});

exit();

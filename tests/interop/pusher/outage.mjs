// Two processes whose Redis is away for a time: node outage.mjs EXAMPLE
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { once } from "node:events";
import { assert, check as checkOf, client, collect, exit, library, Plain, request, sleep, subscribed, until } from "./peers.mjs";

const [example] = process.argv.slice(2);
const check = (title, body, limit) => checkOf("outage", title, body, limit);

const probe = createServer().listen(0, "127.0.0.1");
await once(probe, "listening");
const { port } = probe.address();
probe.close();
let redis;
const startRedis = () => {
  redis = spawn("redis-server", ["--port", String(port), "--bind", "127.0.0.1", "--save", ""], { stdio: "ignore" });
};
const killRedis = () => { redis.kill("SIGKILL"); return once(redis, "exit"); };

async function start(open) {
  const child = spawn(example, ["--listen", "127.0.0.1:0", "--redis", `redis://127.0.0.1:${port}`],
    { stdio: ["ignore", "ignore", "pipe"] });
  open({ disconnect: () => child.kill("SIGKILL") });
  let output = "";
  for await (const data of child.stderr) {
    output += data;
    const listening = /listening on (http:\S+)\n/.exec(output);
    if (listening) return listening[1];
  }
  return assert.fail(output);
}

await check("what was answered with 200 is delivered, and members are right after an outage", async (open) => {
  startRedis();
  const [url, other] = [await start(open), await start(open)];
  const server = library(url);
  const channel = "presence-outage";
  const atAnn = await subscribed(open(client(url)), channel);
  const atBob = await subscribed(open(client(other, { user: "bob" })), channel);
  const removed = collect(atAnn, "pusher:member_removed");
  const events = collect(atBob, "e");
  const [taken, refused] = [[], []];
  let number = 0;
  const post = async () => {
    number += 1;
    const body = JSON.stringify({ name: "e", channel, data: String(number) });
    const { status } = await request(url, "POST", "/apps/1/events", { body });
    (status === 200 ? taken : refused).push(number);
    assert.ok([200, 429, 503].includes(status), String(status));
  };
  const until_ = Date.now() + 5000;
  const outage = (async () => {
    await sleep(500);
    await killRedis();
    await sleep(1500);
    startRedis();
  })();
  while (Date.now() < until_) {
    await post();
    await sleep(4);
  }
  await outage;
  await until(() => taken.filter((one) => !events.includes(one)), []);
  assert.ok(refused.length > 0 && taken.at(-1) > refused.at(-1), `${taken.length} taken, ${refused.length} refused`);
  console.log(`        ${taken.length} taken and delivered, ${refused.length} refused`);
  const cid = open(await Plain.open(other));
  await cid.subscribe(channel, { data: '{"user_id":"cid"}' });
  await until(() => atAnn.members.count, 3, 10_000);
  assert.deepEqual(removed, []);
  await server.trigger(channel, "last", "x");
}, 40_000);

await killRedis();
exit();

// The client of AnyCable at two processes that share histories and presence by Redis: node processes.mjs URL OTHER
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { check, exit, subscribe } from "./cables.mjs";

const [url, other] = process.argv.slice(2);
const room = () => `room ${Math.random()}`;
const minuteAgo = () => Math.floor(Date.now() / 1000) - 60;

await check("processes", url, "a client gets from one process what it has missed at another", async (connect) => {
  const name = room();
  const ann = await subscribe(connect(), name);
  for (let number = 1; number <= 50; number += 1) ann.channel.perform("speak", { body: number });
  let last;
  for (let number = 1; number <= 50; number += 1) {
    const [message, meta] = await ann.next("message");
    assert.equal(message.body, number);
    last = meta;
  }
  assert.equal(last.epoch, "shared");
  const bob = await subscribe(connect({ historyTimestamp: minuteAgo() }, other), name);
  for (let number = 1; number <= 50; number += 1) assert.equal((await bob.next("message"))[0].body, number);
  bob.channel.perform("speak", { body: "from there" });
  const [[here, placed], [there, same]] = [await ann.next("message"), await bob.next("message")];
  assert.deepEqual([here, placed], [there, same]);
  assert.ok(placed.offset > last.offset);
});

await check("processes", url, "presence and whispers are those of both processes", async (connect) => {
  const name = room();
  const [ann, bob] = [await subscribe(connect(), name), await subscribe(connect({}, other), name)];
  ann.channel.presence.join("ann", { at: "one" });
  for (const client of [ann, bob]) assert.equal((await client.next("presence"))[0].id, "ann");
  bob.channel.presence.join("bob", { at: "other" });
  for (const client of [ann, bob]) assert.equal((await client.next("presence"))[0].id, "bob");
  const cid = await subscribe(connect({}, other), name);
  assert.deepEqual(await cid.channel.presence.info(), { ann: { at: "one" }, bob: { at: "other" } });
  ann.channel.whisper("psst");
  for (const client of [bob, cid]) assert.equal((await client.next("message"))[0], "psst");
  await sleep(200);
  assert.deepEqual(ann.events.filter(([kind]) => kind === "message"), []);
  bob.channel.disconnect();
  assert.deepEqual((await ann.next("presence"))[0].type, "leave");
});

exit();

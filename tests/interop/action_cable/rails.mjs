// The example `action_cable` and Rails at the same Redis: node rails.mjs URL REDIS PREFIX
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { chat, check, exit, subscribe, Waiting } from "./subscriptions.mjs";

const [url, redis, prefix] = process.argv.slice(2);
const script = new URL("rails.rb", import.meta.url).pathname;
const rails = spawn("ruby", [script, redis, prefix], { stdio: ["pipe", "pipe", "inherit"] });
const answers = new Waiting();
createInterface({ input: rails.stdout }).on("line", (line) => answers.push(JSON.parse(line)));
const tell = (...command) => rails.stdin.write(`${JSON.stringify(command)}\n`);

await check("rails", url, "what Rails broadcasts reaches the clients, in its order", async (connect) => {
  const ann = subscribe(connect(), chat("1"));
  await ann.next("connected");
  tell("broadcast", "chat:1", { body: "<from> & Rails \u2028" });
  assert.deepEqual(await ann.next("received"), { body: "<from> & Rails \u2028" });
  for (const value of [null, "text", 7, [1, { deep: true }]]) {
    tell("broadcast", "chat:1", value);
    assert.deepEqual(await ann.next("received"), value);
  }
  tell("broadcast_many", "chat:1", 500);
  for (let number = 0; number < 500; number += 1) assert.equal((await ann.next("received")).body, number);
});

await check("rails", url, "what a client's action broadcasts reaches Rails", async (connect) => {
  const ann = subscribe(connect(), chat("2"));
  await ann.next("connected");
  tell("listen", "chat:2");
  await answers.next(([kind]) => kind === "listening");
  ann.subscription.perform("speak", { body: "<to> Rails" });
  const [, message] = await answers.next(([kind]) => kind === "message");
  assert.deepEqual(JSON.parse(message), { body: "<to> Rails" });
  assert.deepEqual(await ann.next("received"), { body: "<to> Rails" });
});

await check("rails", url, "Rails disconnects a user, who comes back", async (connect) => {
  const [ann, bob] = ["ann", "bob"].map((user) => subscribe(connect(`?user=${user}`), chat("3")));
  await Promise.all([ann, bob].map((client) => client.next("connected")));
  tell("disconnect", "ann");
  await ann.next("disconnected");
  assert.deepEqual(await ann.next("connected"), { reconnected: true });
  assert.deepEqual(bob.events, []);
});

rails.stdin.end();
exit();

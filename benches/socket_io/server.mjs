// Node's server: node server.mjs PORT [REDIS ADAPTER]
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, url, adapter] = process.argv.slice(2);
const options = { pingInterval: 60_000 };
if (url) {
  const [publisher, subscriber] = [createClient({ url }), createClient({ url })];
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const adapters = {
    "pub-sub": () => createAdapter(publisher, subscriber),
    sharded: () => createShardedAdapter(publisher, subscriber),
    streams: () => createStreamsAdapter(publisher),
  };
  options.adapter = adapters[adapter]();
}
const io = new Server(Number(port), options);
io.on("connection", (socket) => {
  socket.on("broadcast", (text) => io.emit("message", text));
});

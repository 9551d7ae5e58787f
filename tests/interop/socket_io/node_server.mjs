// Node's server with the operations of `socket_io_conformance abuse`: node node_server.mjs ADAPTER REDIS [cluster]
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient, createCluster } from "redis";
import { Server } from "socket.io";

// The adapters do not handle commands that fail while Redis is away.
process.on("unhandledRejection", () => {});

const [adapter, url, isCluster] = process.argv.slice(2);
const publisher = isCluster
  ? createCluster({ rootNodes: [{ url }] })
  : createClient({ url, socket: { reconnectStrategy: 100 } });
const subscriber = publisher.duplicate();
for (const client of [publisher, subscriber]) client.on("error", () => {});
await Promise.all([publisher.connect(), subscriber.connect()]);
const adapters = {
  "pub-sub": () => createAdapter(publisher, subscriber, { requestsTimeout: 5000 }),
  sharded: () => createShardedAdapter(publisher, subscriber),
  streams: () => createStreamsAdapter(publisher),
};
const recovery = { maxDisconnectionDuration: 4000, skipMiddlewares: true };
const io = new Server({
  adapter: adapters[adapter](),
  connectionStateRecovery: adapter === "streams" ? recovery : undefined,
});

// The sockets that a query selects, as an operator of the socket or of the namespace.
function select(socket, { from, to, in: within, except, volatile, local }) {
  let operator = from === "socket" ? socket.broadcast : socket.nsp;
  for (const room of [to ?? within ?? []].flat()) operator = operator.to(room);
  for (const room of [except ?? []].flat()) operator = operator.except(room);
  if (volatile) operator = operator.volatile;
  return local ? operator.local : operator;
}

io.of("/").on("hello", (...values) => io.of("/").local.emit("hello", ...values));
io.of("/").on("ask", (...values) => values.pop()({ got: values }));
io.on("connection", (socket) => {
  const on = (event, call) => socket.on(event, call);
  on("join", (rooms, ack) => { socket.join(rooms); ack(); });
  on("leave", (room, ack) => { socket.leave(room); ack(); });
  on("data", (data, ack) => { socket.data = data; ack(); });
  on("emit", (query, ack = () => {}) => { select(socket, query).emit(query.event, ...(query.args ?? [])); ack(); });
  on("emit-ack", (query, ack) =>
    select(socket, query).timeout(query.timeout).emit(query.event, ...(query.args ?? []), (error, answers) =>
      ack(error ? "timeout" : null, answers)));
  on("fetch", async (query, ack) => {
    try {
      const sockets = await select(socket, query).fetchSockets();
      ack(sockets.map(({ id, rooms, data }) => ({ id, rooms: [...rooms].sort(), data })));
    } catch (error) {
      ack({ error: error.message });
    }
  });
  on("sockets-join", (query, ack) => { select(socket, query).socketsJoin(query.rooms); ack(); });
  on("sockets-leave", (query, ack) => { select(socket, query).socketsLeave(query.rooms); ack(); });
  on("disconnect-sockets", (query, ack) => { ack(); select(socket, query).disconnectSockets(query.close); });
  on("server-emit", (list, ack) => { socket.nsp.serverSideEmit("hello", ...list); ack(); });
  on("server-ask", (list, ack) =>
    socket.nsp.serverSideEmit("ask", ...list, (error, answers) => ack(error ? "timeout" : null, answers)));
  on("room-size", (room, ack) => ack(socket.nsp.adapter.rooms.get(room)?.size ?? 0));
});
io.listen(0);
console.error(`listening on http://127.0.0.1:${io.httpServer.address().port}`);

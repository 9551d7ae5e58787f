// Node's server: node server.mjs PORT
import { Server } from "socket.io";

const io = new Server(Number(process.argv[2]), { pingInterval: 60_000 });
io.on("connection", (socket) => {
  socket.on("broadcast", (text) => io.emit("message", text));
});

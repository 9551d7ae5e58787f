// The npm package `ws` as the server of the client example; started by ../client/peer.py. Says where it listens, and echoes.
//
//     node server.mjs [deflate] [PATH]      at a port, or at a socket in the file system
//
// Whoever asks for what is below /moved is sent on to where that is without.

import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const [path] = process.argv.slice(2).filter((argument) => argument !== 'deflate');
const webSockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: process.argv.includes('deflate') && { threshold: 0 },
  handleProtocols: (offered) => [...offered].at(-1),
});
const server = createServer();
server.on('upgrade', (request, socket, head) => {
  if (request.url.startsWith('/moved')) {
    const location = request.url.slice('/moved'.length);
    socket.end(`HTTP/1.1 302 Found\r\nLocation: ${location}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    return;
  }
  webSockets.handleUpgrade(request, socket, head, (ws) => talk(ws, request));
});
server.listen(path ?? { host: '127.0.0.1', port: 0 }, () => {
  console.log(path ? `ws+unix:${path}:` : `ws://127.0.0.1:${server.address().port}`);
});

function talk(ws, request) {
  ws.on('message', (data, binary) => {
    const text = data.toString();
    if (text === 'close me') ws.close(4001, 'as you like');
    else if (text === 'what did I say?') ws.send(`${request.url} ${request.headers['x-token']} ${ws.extensions}`);
    else if (text === 'in pieces') for (const part of ['one, ', 'two, ', 'three']) ws.send(part, { fin: part === 'three' });
    else ws.send(data, { binary });
  });
}

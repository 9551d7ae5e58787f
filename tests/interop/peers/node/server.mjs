// An echo server on the npm package `ws`, for the client example. Prints its URL. Started by ../client/peer.py.
//
//     node server.mjs [deflate] [PATH]      on a TCP port, or on the Unix domain socket PATH
//
// Redirects requests for /moved/PATH to /PATH. Some messages are commands; see `serve`.

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
  webSockets.handleUpgrade(request, socket, head, (ws) => serve(ws, request));
});
server.listen(path ?? { host: '127.0.0.1', port: 0 }, () => {
  console.log(path ? `ws+unix:${path}:` : `ws://127.0.0.1:${server.address().port}`);
});

function serve(ws, request) {
  ws.on('message', (data, binary) => {
    const text = data.toString();
    if (text === 'close me') ws.close(4001, 'requested');
    else if (text === 'show request') ws.send(`${request.url} ${request.headers['x-token']} ${ws.extensions}`);
    else if (text === 'send fragments') {
      for (const fragment of ['one, ', 'two, ', 'three']) ws.send(fragment, { fin: fragment === 'three' });
    } else ws.send(data, { binary });
  });
}

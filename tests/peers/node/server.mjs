// The npm package `ws` as the server of the client example; started by ../client/peer.py. Says where it listens, and echoes.

import { WebSocketServer } from 'ws';

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  perMessageDeflate: process.argv.includes('deflate') && { threshold: 0 },
  handleProtocols: (offered) => [...offered].at(-1),
});
server.on('listening', () => console.log(`ws://127.0.0.1:${server.address().port}`));
server.on('connection', (ws, request) => {
  ws.on('message', (data, binary) => {
    const text = data.toString();
    if (text === 'close me') ws.close(4001, 'as you like');
    else if (text === 'what did I say?') ws.send(`${request.url} ${request.headers['x-token']} ${ws.extensions}`);
    else if (text === 'in pieces') for (const part of ['one, ', 'two, ', 'three']) ws.send(part, { fin: part === 'three' });
    else ws.send(data, { binary });
  });
});

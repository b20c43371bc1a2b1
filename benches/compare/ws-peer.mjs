// The npm package `ws` as a server to measure against: echo on every path, and
// on /broadcast everything that any client sends goes to every client there,
// the sender included. `ws` is loaded from the folder that the environment
// variable COMPARE_NODE_MODULES names, so that nothing is installed here.
//
//     COMPARE_NODE_MODULES=/some/node_modules node ws-peer.mjs PORT

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';

const folder = process.env.COMPARE_NODE_MODULES;
const port = Number(process.argv[2]);
if (!folder || !Number.isInteger(port) || port < 0 || port > 65535) {
  console.error('usage: COMPARE_NODE_MODULES=FOLDER node ws-peer.mjs PORT');
  process.exit(2);
}

const { WebSocket, WebSocketServer } = createRequire(import.meta.url)(path.resolve(folder, 'ws'));

const server = createServer((_, response) => response.writeHead(426).end());
const webSockets = new WebSocketServer({
  server,
  clientTracking: false,
  perMessageDeflate: false,
  maxPayload: 64 << 20,
});
const subscribers = new Set();

webSockets.on('connection', (socket, request) => {
  // A connection that breaks is the client's affair.
  socket.on('error', () => {});
  if (request.url !== '/broadcast') {
    socket.on('message', (payload, isBinary) => socket.send(payload, { binary: isBinary }));
    return;
  }
  subscribers.add(socket);
  socket.on('close', () => subscribers.delete(socket));
  socket.on('message', (payload, isBinary) => {
    for (const subscriber of subscribers) {
      if (subscriber.readyState === WebSocket.OPEN) subscriber.send(payload, { binary: isBinary });
    }
  });
});

// A peer that used io_uring may hold the port for a moment after its end.
const patience = Date.now() + 5000;
const listen = () => server.listen({ host: '127.0.0.1', port, backlog: 65535 });
server.on('listening', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
server.on('error', (error) => {
  if (error.code === 'EADDRINUSE' && Date.now() < patience) {
    setTimeout(listen, 10);
    return;
  }
  console.error(`ws-peer: ${error.message}`);
  process.exit(1);
});
// The WebSocket server repeats the errors of the server below it.
webSockets.on('error', () => {});
listen();

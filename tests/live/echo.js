// Echo through npm's `ws`, as its users would write it. Prints one line of JSON
// at the end: {"passed": [names]}, or fails with the reason on stderr.
//
// node echo.js DIRECTORY_OF_NODE_MODULES URL

'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const path = require('node:path');
const WebSocket = require(path.join(process.argv[2], 'ws'));

const url = process.argv[3];
const MESSAGE_BYTES_MAX = 16 << 20;
const SIZES = [0, 1, 125, 126, 65535, 65536];
const PIPELINED = 10000;

async function open(options = {}) {
  const client = new WebSocket(url, { maxPayload: 0, ...options });
  await once(client, 'open');
  return client;
}

async function close(client, code = 1000, reason = '') {
  const closed = once(client, 'close');
  client.close(code, reason);
  const [receivedCode, receivedReason] = await closed;
  assert.strictEqual(receivedCode, code);
  return receivedReason.toString();
}

async function checkEcho(client, message) {
  const received = once(client, 'message');
  client.send(message);
  const [reply, isBinary] = await received;
  assert.strictEqual(isBinary, typeof message !== 'string');
  assert.ok(Buffer.from(message).equals(reply), `the echo of ${message.length} differs`);
}

const tests = {
  async text() {
    const client = await open();
    await checkEcho(client, 'Grüße, 世界 🦀');
    for (const size of SIZES) await checkEcho(client, 'x'.repeat(size));
    await close(client);
  },

  async binary() {
    const client = await open();
    for (const size of SIZES) await checkEcho(client, Buffer.alloc(size, 'abcdefg'));
    await close(client);
  },

  async largest() {
    const client = await open({ perMessageDeflate: false });
    await checkEcho(client, Buffer.alloc(MESSAGE_BYTES_MAX, 'abcdefg'));
    await close(client);
  },

  async tooLarge() {
    const client = await open();
    client.on('error', () => {});
    client.send(Buffer.alloc(MESSAGE_BYTES_MAX + 1));
    const [code] = await once(client, 'close');
    assert.strictEqual(code, 1009);
  },

  async fragmented() {
    const client = await open();
    const received = once(client, 'message');
    let pongs = 0;
    client.on('pong', () => (pongs += 1));
    for (let index = 0; index < 50; index++) {
      client.send(`${index},`, { fin: index === 49 });
      client.ping(String(index));
    }
    const [reply] = await received;
    assert.strictEqual(reply.toString(), Array.from({ length: 50 }, (_, i) => `${i},`).join(''));
    // The last ping left after the message.
    while (pongs < 50) await once(client, 'pong');
    await close(client);
  },

  async pipelined() {
    const client = await open();
    const text = (index) => `${index} ${'p'.repeat(index % 200)}`;
    await new Promise((resolve, reject) => {
      let received = 0;
      client.on('error', reject);
      client.on('close', () => reject(new Error(`closed after ${received}`)));
      client.on('message', (reply) => {
        if (reply.toString() !== text(received)) {
          reject(new Error(`reply ${received} is ${reply.toString().slice(0, 20)}`));
        }
        received += 1;
        if (received === PIPELINED) resolve();
      });
      for (let index = 0; index < PIPELINED; index++) client.send(text(index));
    });
    client.removeAllListeners('close');
    await close(client);
  },

  async clientCloses() {
    for (const [code, reason] of [[1000, ''], [1001, 'bye'], [3000, 'ü'], [4999, 'r'.repeat(123)]]) {
      const client = await open();
      await close(client, code, reason);
    }
  },
};

async function main() {
  const passed = [];
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test();
    } catch (error) {
      console.error(`${name}: ${error.stack}`);
      process.exit(1);
    }
    passed.push(name);
  }
  console.log(JSON.stringify({ passed }));
}

main();

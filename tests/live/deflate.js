// Echo through npm's `ws` with every set of options of its permessage-deflate. Prints one
// line of JSON at the end: {"agreed": [names], "declined": [names]}.
//
// node deflate.js DIRECTORY_OF_NODE_MODULES URL

'use strict';

const assert = require('node:assert');
const { randomBytes } = require('node:crypto');
const { once } = require('node:events');
const path = require('node:path');
const WebSocket = require(path.join(process.argv[2], 'ws'));

const url = process.argv[3];
const SIZES = [0, 1, 125, 126, 511, 512, 600, 16 << 10, 64 << 10];
const LARGE = [1 << 20, 5 << 20];
const REPEATED = 'Grüße, 世界 🦀 ';

const options = { default: {}, everything: { threshold: 0 } };
options.bothAlone = { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 };
options.clientAlone = { clientNoContextTakeover: true, threshold: 0 };
options.serverAlone = { serverNoContextTakeover: true, threshold: 0 };
options.level9 = { zlibDeflateOptions: { level: 9, memLevel: 9 }, threshold: 0 };
options.stored = { zlibDeflateOptions: { level: 0 }, threshold: 0 };
for (let bits = 8; bits <= 15; bits++) {
  options[`client${bits}`] = { clientMaxWindowBits: bits, threshold: 0 };
  options[`server${bits}`] = { serverMaxWindowBits: bits, threshold: 0 };
}

async function checkEcho(client, message) {
  const received = once(client, 'message');
  client.send(message);
  const [reply, isBinary] = await received;
  assert.strictEqual(isBinary, typeof message !== 'string');
  assert.ok(Buffer.from(message).equals(reply), `the echo of ${message.length} differs`);
}

async function check(name) {
  const client = new WebSocket(url, { maxPayload: 0, perMessageDeflate: options[name] });
  await once(client, 'open');
  const sizes = ['default', 'bothAlone'].includes(name) ? SIZES.concat(LARGE) : SIZES;
  for (const size of sizes) {
    await checkEcho(client, REPEATED.repeat(size / REPEATED.length + 1).slice(0, size));
    await checkEcho(client, Buffer.alloc(size, 'abcdefg'));
    await checkEcho(client, randomBytes(size));
  }
  // The reply to what repeats is small on the wire, or compression was not agreed on.
  const before = client._socket.bytesRead;
  await checkEcho(client, Buffer.alloc(64 << 10, 'x'));
  const bytes = client._socket.bytesRead - before;
  const agreed = client.extensions.includes('permessage-deflate');
  assert.ok(agreed ? bytes < 1000 : bytes > 64 << 10, `${name}: ${bytes} bytes, agreed ${agreed}`);
  // In fragments, with pings in between.
  const received = once(client, 'message');
  for (let index = 0; index < 20; index++) {
    client.send(REPEATED.repeat(index), { fin: index === 19 });
    client.ping(String(index));
  }
  const [reply] = await received;
  const expected = Array.from({ length: 20 }, (_, index) => REPEATED.repeat(index)).join('');
  assert.strictEqual(reply.toString(), expected, name);
  const closed = once(client, 'close');
  client.close(3001, 'done');
  assert.strictEqual((await closed)[0], 3001);
  return agreed;
}

async function main() {
  const result = { agreed: [], declined: [] };
  for (const name of Object.keys(options)) {
    try {
      result[(await check(name)) ? 'agreed' : 'declined'].push(name);
    } catch (error) {
      console.error(`${name}: ${error.stack}`);
      process.exit(1);
    }
  }
  console.log(JSON.stringify(result));
}

main();

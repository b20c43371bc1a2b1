// The JavaScript client under the orders of a test: commands come as lines of JSON on
// standard input, what happens goes out as lines of JSON.
//
//     node client.mjs tapecast.mjs NODE_MODULES URL OPTIONS

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [, , module, nodeModules, url, options] = process.argv;
const { Tapecast } = await import(module);
const { WebSocket } = createRequire(`${nodeModules}/`)('ws');

const say = (event, detail = {}) => process.stdout.write(`${JSON.stringify({ event, ...detail })}\n`);
const told = ({ code, message, channel }) => ({ code, message, channel });

const tape = new Tapecast(url, { WebSocket, ...JSON.parse(options) });
tape.on('state', (state) => say('state', { state }));
tape.on('disconnect', (detail) => say('disconnect', detail));
tape.on('shutdown', (shutdown) => say('shutdown', shutdown));
tape.on('error', (error) => say('error', told(error)));

const subscriptions = new Map();

const commands = {
  subscribe({ channel, options }) {
    const subscription = tape.subscribe(channel, options, (message) => say('message', message));
    subscriptions.set(channel, subscription);
    for (const event of ['subscribed', 'reset', 'gap', 'conflated', 'snapshot', 'snapshot_end']) {
      subscription.on(event, (detail) => say(event, detail));
    }
    subscription.ready.then(
      () => say('ready', { channel }),
      (error) => say('refused', told(error)),
    );
  },
  async unsubscribe({ channel }) {
    await subscriptions.get(channel).unsubscribe();
    say('unsubscribed', { channel });
  },
  async publish({ channel, message, options }) {
    try {
      say('published', { channel, seq: await tape.publish(channel, message, options) });
    } catch (error) {
      say('failed', told(error));
    }
  },
  async ping() {
    say('pong', { ms: await tape.ping() });
  },
  /** Of a pattern's channels, the one named in `of`. */
  ack({ channel, seq, of }) {
    subscriptions.get(channel).ack(seq, of);
  },
  position({ channel }) {
    say('position', subscriptions.get(channel).position());
  },
  /** Does something as soon as that state is told of. */
  when({ state, then }) {
    tape.on('state', (now) => now === state && commands[then.command](then));
  },
  close() {
    tape.close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  commands[command](rest);
}
tape.close();

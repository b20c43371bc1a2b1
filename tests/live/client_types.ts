// What users of the JavaScript client write, for the compiler to look at.

import { Message, Position, Subscription, Tapecast, TapecastError } from './tapecast.js';

interface Quote {
  bid: number;
  ask: number;
}

const tape: Tapecast = new Tapecast('ws://127.0.0.1:9001/', { backoffMs: 100 });
tape.on('state', (state) => state === 'open');
tape.on('shutdown', ({ withinMs }) => withinMs.toFixed());
const quotes: Subscription<Quote> = tape.subscribe<Quote>(
  'quotes',
  { mode: 'latest', maxRate: 10, snapshot: true, window: 64, manualAck: true },
  (message: Message<Quote>) => message.message.bid + message.message.ask,
);
const stop: () => void = quotes.on('gap', ({ channel, from, to }) => `${channel} ${to - from}`);
quotes.on('reset', ({ previous, epoch }) => previous.epoch !== epoch);
quotes.on('error', (error: TapecastError) => error.code === 115 || error.code === 'full');
stop();
quotes.ack();
const since: Position | undefined = quotes.position();
const seq: number = await tape.publish('quotes', { bid: 1, ask: 2 }, { key: 'BTC' });
const nothing: void = tape.publish('quotes', null, { key: 'BTC', remove: true, confirm: false });
// @ts-expect-error: there is no such mode.
tape.subscribe('quotes', { mode: 'some' });
// @ts-expect-error: there is no such event.
quotes.on('later', () => {});
await (await quotes.ready).unsubscribe();
tape.close();
export { nothing, seq, since };

// The page of `tapecast serve`: subscribe, publish, and watch the messages.

import { Tapecast } from '/tapecast.js';

const LINES_MAX = 500;
const element = (id) => document.getElementById(id);
const tape = new Tapecast();
const subscriptions = new Map();

function log(...words) {
  const isAtEnd = element('log').scrollHeight - element('log').scrollTop - element('log').clientHeight < 40;
  const line = words.map((word) => (typeof word === 'string' ? word : JSON.stringify(word))).join(' ');
  element('log').append(`${line}\n`);
  while (element('log').childNodes.length > LINES_MAX) element('log').firstChild.remove();
  if (isAtEnd) element('log').scrollTop = element('log').scrollHeight;
}

tape.on('state', (state) => {
  element('state').dataset.state = state;
  element('state').textContent = state === 'open' ? 'connected' : state;
});
tape.on('shutdown', ({ withinMs }) => log('the server shuts down within', `${withinMs} ms`));
tape.on('error', ({ code, message }) => log('error', String(code), message));

element('subscribe').onsubmit = (event) => {
  event.preventDefault();
  const { channel, mode, rate } = Object.fromEntries(new FormData(event.target));
  subscriptions.get(channel)?.unsubscribe();
  const options = { mode, snapshot: !/[*>]/.test(channel), maxRate: Number(rate) || undefined };
  const subscription = tape.subscribe(channel, options, ({ channel, seq, key, removed, message }) => {
    log(`${channel} ${seq}`, key === undefined ? '' : `${key}${removed ? ' removed' : ''}:`, message);
  });
  subscriptions.set(channel, subscription);
  for (const name of ['subscribed', 'reset', 'gap', 'conflated']) {
    subscription.on(name, ({ channel, ...detail }) => log(`${channel} ${name}`, detail));
  }
  subscription.on('error', ({ code, message }) => log('error', String(code), message));
};

element('leave').onclick = async () => {
  const { channel } = Object.fromEntries(new FormData(element('subscribe')));
  await subscriptions.get(channel)?.unsubscribe();
  if (subscriptions.delete(channel)) log(`${channel} unsubscribed`);
};

element('publish').onsubmit = async (event) => {
  event.preventDefault();
  const { channel, key, message } = Object.fromEntries(new FormData(event.target));
  let body = message;
  try {
    body = JSON.parse(message);
  } catch { /* not JSON: publish it as text */ }
  try {
    const seq = await tape.publish(channel, body, { key: key || undefined });
    log(`${channel} published as ${seq}`);
  } catch ({ code, message }) {
    log('error', String(code), message);
  }
};

// A client of tapecast.v1.json for browsers and Node, without dependencies.
//
// It connects, reconnects by itself, and resumes every channel at its last position. Messages,
// gaps and restarts of a channel are events. docs/clients.md has examples, and tapecast.d.ts the
// types.
//
// Invariants:
// - `position.seq` is the last message of a channel that was delivered or reported as lost or
//   conflated. A resumed subscription names it in `since`, so nothing is delivered twice and
//   nothing is missed in silence.
// - During a snapshot there is no position to resume at: if the connection is lost then, the
//   subscription requests a new snapshot.

const SUBPROTOCOL = 'tapecast.v1.json';

// How many channels of one pattern are tracked.
const CHANNELS_MAX = 16_384;

// RFC 6455, 7.1.5: the code of a connection that ended without a close frame.
const ABNORMAL = 1006;

const DEFAULTS = {
  WebSocket: undefined, // the constructor, where there is no global one (Node below 22)
  backoffMs: 250, // the first delay before reconnecting; it doubles
  backoffMaxMs: 15_000,
  connectMs: 10_000, // how long a handshake may take
  idleMs: 25_000, // silence after which the client pings the server
  answerMs: 10_000, // how long the answer to a ping may take
  lastingMs: 5_000, // how long a connection has to last for the delay to start over
  requestsMax: 1_024, // requests in flight
  bufferedBytesMax: 4 << 20, // unsent bytes
};

/** A request that failed: `code` is the server's error code, or a name of this client. */
export class TapecastError extends Error {
  constructor(code, message, channel) {
    super(message);
    this.name = 'TapecastError';
    this.code = code;
    this.channel = channel;
  }
}

class Emitter {
  #listeners = new Map();

  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
    return () => this.#listeners.get(event)?.delete(listener);
  }

  /** Calls the listeners. An exception of one is reported and does not stop the others. */
  _emit(event, ...details) {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        listener(...details);
      } catch (error) {
        const report = globalThis.reportError ?? ((error) => console.error(error));
        report(error);
      }
    }
  }
}

/** The position in a channel that has begun: its last message, and what is known of the next. */
function started(epoch, seq, isSnapshot) {
  return { epoch, seq, isSnapshot, conflatedTo: 0, received: seq, unacknowledged: 0 };
}

/** A channel, or a pattern of channels. Made by `Tapecast.subscribe`. */
export class Subscription extends Emitter {
  #tapecast;
  #positions = new Map(); // channel -> the result of `started`
  #resolve;
  #reject;
  #isEnded = false;
  _asked; // the id of the last request

  constructor(tapecast, channel, options) {
    super();
    this.#tapecast = tapecast;
    this.channel = channel;
    this.options = options;
    this.isPattern = /(^|\.)[*>](\.|$)/.test(channel);
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // A refusal is also an event, so a caller need not await `ready`.
    this.ready.catch(() => {});
  }

  /** The position at which a channel can be resumed; for a pattern, name the channel. */
  position(channel = this.channel) {
    const position = this.#positions.get(channel);
    if (!position || position.isSnapshot || position.epoch === undefined) return undefined;
    return { epoch: position.epoch, seq: position.seq };
  }

  /** Acknowledges all messages up to `seq`, or up to the last one. */
  ack(seq, channel = this.channel) {
    const position = this.#positions.get(channel);
    if (!position) return;
    position.unacknowledged = 0;
    // It is small and the server may wait for it, so it ignores the limit of unsent bytes.
    this.#tapecast._send({ type: 'ack', channel, seq: seq ?? position.received }, true);
  }

  unsubscribe() {
    return this.#tapecast._unsubscribe(this);
  }

  /** The request for it: for a new subscription, or to resume. */
  _request() {
    const { mode, maxRate, snapshot, window, since, name } = this.options;
    const request = { type: 'subscribe', channel: this.channel };
    if (mode) request.mode = mode;
    if (maxRate) request.max_rate = maxRate;
    if (window) request.window = window;
    if (name !== undefined) request.name = name;
    const position = this.#positions.get(this.channel);
    const from = position ? this.position() : since;
    // If the server can't resume there, a snapshot follows without a request.
    if (from) request.since = from;
    else if (snapshot || position) request.snapshot = true;
    return request;
  }

  _subscribed({ channel, epoch, seq, recovered, listed }) {
    this.#resolve(this);
    // The pattern itself: each of its channels has an answer of its own.
    if (epoch === undefined) return;
    const before = this.#positions.get(channel);
    const asksPast = !this.isPattern && (this.options.snapshot || this.options.since || before);
    this.#place(channel, started(epoch, seq, !recovered && Boolean(asksPast)));
    const event = { channel, epoch, seq, recovered };
    // The name is not listed, because the channel has no presence.
    if (listed === false) event.listed = false;
    this._emit('subscribed', event);
    if (before?.epoch === undefined) return;
    const { epoch: epochBefore, seq: seqBefore } = before;
    // An interrupted snapshot may contain later messages than its position.
    const isOther = epochBefore !== epoch || seqBefore !== seq || before.isSnapshot;
    if (this.isPattern && epochBefore === epoch) {
      // Messages that were published while disconnected.
      if (seq > seqBefore) this._emit('gap', { channel, from: seqBefore + 1, to: seq });
    } else if ((this.isPattern || !recovered) && isOther) {
      // The server chooses the start of a pattern's channel, and reports it as recovered.
      const previous = { epoch: epochBefore, seq: seqBefore };
      this._emit('reset', { channel, previous, epoch, seq });
    }
  }

  /** Stores a position. A pattern may match an unbounded number of channels: the oldest are dropped. */
  #place(channel, position) {
    this.#positions.set(channel, position);
    if (this.#positions.size > CHANNELS_MAX) {
      this.#positions.delete(this.#positions.keys().next().value);
    }
  }

  _message(message) {
    const { channel, seq } = message;
    // A message before `subscribed` belongs to an earlier subscription that has ended.
    if (!this.isPattern && !this.#positions.has(channel)) return;
    // The channel had a subscription by name, and continues with this one.
    if (!this.#positions.has(channel)) this.#place(channel, started(undefined, seq - 1, false));
    const position = this.#positions.get(channel);
    position.received = seq;
    if (position.isSnapshot) {
      message.snapshot = true;
    } else {
      if (seq <= position.seq) return;
      this.#expect(channel, position, seq - 1);
      position.seq = seq;
    }
    this._emit('message', message);
    this.#acknowledge(channel, position);
  }

  _mark({ type, channel, from, to, seq, count, complete = true }) {
    const position = this.#positions.get(channel);
    if (!position) return;
    switch (type) {
      case 'snapshot':
        position.isSnapshot = true;
        return this._emit('snapshot', { channel, count });
      case 'snapshot_end':
        position.isSnapshot = false;
        position.seq = seq;
        return this._emit('snapshot_end', { channel, seq, complete });
      case 'gap':
        position.seq = Math.max(position.seq, to);
        return this._emit('gap', { channel, from, to });
      case 'conflated':
        position.conflatedTo = Math.max(position.conflatedTo, to);
        return this._emit('conflated', { channel, from, to });
    }
  }

  /** Notes that the server has sent all messages up to `seq`. */
  _heartbeat(channel, seq) {
    const position = this.#positions.get(channel);
    if (!position || position.isSnapshot || seq <= position.seq) return;
    this.#expect(channel, position, seq);
    position.seq = seq;
  }

  /** In the mode `all`, an unannounced hole before `seq` is a gap too. */
  #expect(channel, position, seq) {
    const from = Math.max(position.seq, position.conflatedTo) + 1;
    if (this.options.mode !== 'latest' && seq >= from) this._emit('gap', { channel, from, to: seq });
  }

  /** Acknowledges half a window at a time, so that the server need not wait. */
  #acknowledge(channel, position) {
    const { window, manualAck } = this.options;
    if (!window || manualAck || this.#isEnded) return;
    position.unacknowledged += 1;
    if (position.unacknowledged * 2 < window) return;
    this.ack(undefined, channel);
  }

  /** Ends it, because the caller unsubscribed or the server refused it. */
  _ended(error) {
    this.#isEnded = true;
    this.#reject(error);
  }
}

/** A connection to a server, and its subscriptions. */
export class Tapecast extends Emitter {
  #url;
  #options;
  #socket;
  #state = 'connecting';
  #attempts = 0;
  #openSince; // when the connection opened
  #timer; // until reconnecting, or for the handshake
  #watch; // checks for silence
  #heard = 0; // when the last message was received
  #asked = 0; // when the last ping of the watch was sent
  #subscriptions = new Map(); // channel or pattern -> Subscription
  #routes = new Map(); // channel -> Subscription, cached by #route
  #requests = new Map(); // id -> { text, resolve, reject, channel, isSent }
  #nextId = 1;
  #onOnline = () => {
    if (this.#state === 'waiting') this.#connect();
  };

  constructor(url, options = {}) {
    super();
    this.#url = url ?? here();
    this.#options = { ...DEFAULTS, WebSocket: globalThis.WebSocket, ...options };
    if (!this.#options.WebSocket) {
      throw new TypeError('there is no global WebSocket: pass one as options.WebSocket');
    }
    globalThis.addEventListener?.('online', this.#onOnline);
    this.#connect();
  }

  /** `connecting`, `open`, `waiting` (to reconnect), or `closed`. */
  get state() {
    return this.#state;
  }

  /** Subscribes now, or once connected, and again after every reconnect. */
  subscribe(channel, options = {}, onMessage = undefined) {
    if (this.#state === 'closed') throw new TapecastError('closed', 'the client is closed', channel);
    if (this.#subscriptions.has(channel)) {
      throw new TapecastError('subscribed', `${channel}: already subscribed`, channel);
    }
    const subscription = new Subscription(this, channel, options);
    if (onMessage) subscription.on('message', onMessage);
    this.#subscriptions.set(channel, subscription);
    this.#routes.clear();
    if (this.#state === 'open') this.#ask(subscription);
    return subscription;
  }

  /** Publishes; resolves with the message's sequence number. Without `confirm`, there is no answer. */
  publish(channel, message, { key, remove, confirm = true } = {}) {
    const request = { type: 'publish', channel, message: message ?? null };
    if (key !== undefined) request.key = key;
    if (remove) request.remove = true;
    if (confirm) return this.#bounded(request).then((answer) => answer.seq);
    if (this._send(request)) return undefined;
    const isOpen = this.#state === 'open';
    const why = isOpen ? 'too many unsent bytes' : 'not connected';
    throw new TapecastError(isOpen ? 'full' : 'disconnected', why, channel);
  }

  /** Resolves with the round trip in milliseconds. */
  async ping() {
    const start = performance.now();
    await this.#bounded({ type: 'ping' });
    return performance.now() - start;
  }

  /** Closes the client for good. */
  close() {
    if (this.#state === 'closed') return;
    globalThis.removeEventListener?.('online', this.#onOnline);
    this.#drop('closed');
    for (const id of [...this.#requests.keys()]) this.#fail(id, 'closed', 'the client was closed');
    const closed = new TapecastError('closed', 'the client was closed');
    for (const subscription of this.#subscriptions.values()) subscription._ended(closed);
    this.#subscriptions.clear();
    this.#routes.clear();
  }

  /** Sends if there is a connection with room; returns whether it did. */
  _send(request, isSmall = false) {
    const isRoom = isSmall || this.#socket?.bufferedAmount <= this.#options.bufferedBytesMax;
    if (this.#state !== 'open' || !isRoom) return false;
    this.#socket.send(JSON.stringify(request));
    return true;
  }

  async _unsubscribe(subscription) {
    if (this.#subscriptions.get(subscription.channel) !== subscription) return;
    this.#subscriptions.delete(subscription.channel);
    this.#routes.clear();
    subscription._ended(new TapecastError('closed', 'unsubscribed', subscription.channel));
    if (this.#state !== 'open') return;
    // The answer does not matter: the subscription has ended.
    await this.#request({ type: 'unsubscribe', channel: subscription.channel }).catch(() => {});
  }

  #ask(subscription) {
    subscription._asked = this.#nextId;
    this.#request(subscription._request()).catch((error) => {
      // After a reconnect it is requested again; a refusal of the server is final.
      if (typeof error.code !== 'number') return;
      if (this.#subscriptions.get(subscription.channel) !== subscription) return;
      this.#subscriptions.delete(subscription.channel);
      this.#routes.clear();
      subscription._ended(error);
      subscription._emit('error', error);
    });
  }

  /** Sends a request of the caller, unless the limits are reached. */
  async #bounded(request) {
    const { requestsMax, bufferedBytesMax } = this.#options;
    if (this.#state === 'closed') {
      throw new TapecastError('closed', 'the client is closed', request.channel);
    }
    if (this.#requests.size >= requestsMax || this.#socket?.bufferedAmount > bufferedBytesMax) {
      throw new TapecastError('full', 'too many requests in flight', request.channel);
    }
    return this.#request(request);
  }

  /** Sends now, or once connected; resolves with the answer. */
  #request(request) {
    const { channel } = request;
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      // The id is first, so that the server can return it even if it can't read the rest.
      const text = JSON.stringify({ id, ...request });
      const isSent = this.#state === 'open';
      this.#requests.set(id, { text, resolve, reject, channel, isSent });
      if (isSent) this.#socket.send(text);
    });
  }

  #fail(id, code, message) {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    request?.reject(new TapecastError(code, message, request.channel));
  }

  #turn(state) {
    if (this.#state === state) return;
    this.#state = state;
    this._emit('state', state);
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#turn('connecting');
    // A listener of `state` may have closed the client.
    if (this.#state !== 'connecting') return;
    const socket = new this.#options.WebSocket(this.#url, [SUBPROTOCOL]);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    // A `close` event follows.
    socket.onerror = () => {};
    const late = 'the handshake took too long';
    this.#timer = setTimeout(() => this.#lost(ABNORMAL, late), this.#options.connectMs);
  }

  #opened() {
    clearTimeout(this.#timer);
    // Some WebSocket constructors open although the server has chosen no subprotocol.
    if (this.#socket.protocol !== SUBPROTOCOL) return this.#isOther('it did not choose the subprotocol');
    this.#openSince = Date.now();
    this.#heard = Date.now();
    this.#asked = 0;
    this.#state = 'open';
    const every = Math.max(50, Math.min(this.#options.idleMs, this.#options.answerMs) / 4);
    this.#watch = setInterval(() => this.#probe(), every);
    for (const subscription of this.#subscriptions.values()) this.#ask(subscription);
    for (const request of this.#requests.values()) {
      if (!request.isSent) this.#socket.send(request.text);
      request.isSent = true;
    }
    // Last, since a listener may subscribe or close.
    this._emit('state', 'open');
  }

  /** A lost network is silent, so silence is probed with a ping. */
  #probe() {
    const now = Date.now();
    if (this.#asked > this.#heard) {
      if (now - this.#asked >= this.#options.answerMs) this.#lost(ABNORMAL, 'no answer');
    } else if (now - this.#heard >= this.#options.idleMs) {
      this.#asked = now;
      this.#socket.send('{"type":"ping"}');
    }
  }

  /** Drops the socket. */
  #drop(state) {
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#turn(state);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    // On a lost network a close gets no answer: npm's ws can terminate without one.
    if (state === 'waiting' && socket.terminate) socket.terminate();
    else socket.close();
  }

  /** Handles the end of the connection: with the server's code and reason, or 1006 and this client's. */
  #lost(code, reason) {
    if (this.#state === 'closed' || this.#state === 'waiting') return;
    const lasted = this.#openSince === undefined ? 0 : Date.now() - this.#openSince;
    this.#openSince = undefined;
    this.#drop('waiting');
    this._emit('disconnect', { code, reason });
    // A listener of `disconnect` may have closed the client.
    if (this.#state !== 'waiting') return;
    for (const [id, request] of [...this.#requests]) {
      // The outcome of sent requests is unknown; unsent ones are sent later.
      if (request.isSent) this.#fail(id, 'disconnected', 'the connection was lost');
    }
    // Spread over the whole delay, so that a thousand clients don't reconnect at once.
    const { backoffMs, backoffMaxMs, lastingMs } = this.#options;
    const delayAfter = (attempts) => Math.min(backoffMaxMs, backoffMs * 2 ** Math.min(attempts, 16));
    // A server that accepts and drops connections does not reset the delay.
    if (lasted >= Math.max(lastingMs, delayAfter(this.#attempts))) this.#attempts = 0;
    const delay = delayAfter(this.#attempts);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#connect(), delay * Math.random());
  }

  /** Handles a server that does not speak the protocol: an error, and a reconnect later. */
  #isOther(why) {
    const error = new TapecastError('protocol', `the server does not speak ${SUBPROTOCOL}: ${why}`);
    this._emit('error', error);
    this.#lost(ABNORMAL, error.message);
  }

  #received(data) {
    this.#heard = Date.now();
    try {
      this.#hear(JSON.parse(data));
    } catch (error) {
      // Exceptions of listeners do not get here: `_emit` catches them.
      this.#isOther(`it sent a message that can't be read (${error.message})`);
    }
  }

  #hear(message) {
    switch (message.type) {
      case undefined:
        throw new TypeError('a message without a type');
      case 'message':
        return this.#route(message.channel)?._message(message);
      case 'gap':
      case 'conflated':
      case 'snapshot':
      case 'snapshot_end':
        return this.#route(message.channel)?._mark(message);
      case 'heartbeat':
        for (const [channel, seq] of Object.entries(message.channels)) {
          this.#route(channel)?._heartbeat(channel, seq);
        }
        return;
      case 'subscribed': {
        const subscription = this.#route(message.channel);
        // An answer with another id belongs to an earlier subscription of this name.
        const isOld = message.id !== undefined && message.id !== subscription?._asked;
        if (!isOld) subscription?._subscribed(message);
        return this.#answered(message);
      }
      case 'error':
        return this.#refused(message);
      case 'shutdown':
        return this._emit('shutdown', { withinMs: message.within_ms });
      default:
        return this.#answered(message);
    }
  }

  #answered(message) {
    const request = this.#requests.get(message.id);
    this.#requests.delete(message.id);
    request?.resolve(message);
  }

  #refused({ code, message, id }) {
    if (this.#requests.has(id)) return this.#fail(id, code, message);
    this._emit('error', new TapecastError(code, message));
  }

  /** The subscription of a channel: the one of its name, or else that of the first matching pattern. */
  #route(channel) {
    let subscription = this.#subscriptions.get(channel) ?? this.#routes.get(channel);
    if (subscription) return subscription;
    for (const candidate of this.#subscriptions.values()) {
      if (candidate.isPattern && matches(candidate.channel, channel)) {
        if (this.#routes.size >= CHANNELS_MAX) this.#routes.clear();
        this.#routes.set(channel, candidate);
        return candidate;
      }
    }
    return undefined;
  }
}

/** Whether a channel matches a pattern: `*` is one segment, `>` at the end one or more. */
function matches(pattern, channel) {
  const wanted = pattern.split('.');
  const segments = channel.split('.');
  for (const [index, word] of wanted.entries()) {
    if (word === '>' && index === wanted.length - 1) return segments.length > index;
    if (segments[index] === undefined || (word !== '*' && word !== segments[index])) return false;
  }
  return wanted.length === segments.length;
}

/** The URL of `/` on the page's server. */
function here() {
  const { protocol, host } = globalThis.location;
  return `${protocol === 'https:' ? 'wss' : 'ws'}://${host}/`;
}

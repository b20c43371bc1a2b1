// A client of tapecast.v1.json for browsers and Node, without dependencies.
//
// It connects, comes back by itself, and goes on in every channel where it left. What a
// channel's reader got, missed or got anew is told by events; docs/clients.md has examples,
// and tapecast.d.ts the types.
//
// Invariants:
// - `position.seq` is the last message of a channel that was handed on or accounted for
//   by a mark. It is what a resumed subscription names in `since`, so nothing comes
//   twice and nothing is missed in silence.
// - While a snapshot comes, the position is not one that can be resumed: a connection
//   that is lost then asks for a new snapshot.

const SUBPROTOCOL = 'tapecast.v1.json';

// Channels of one pattern that are known at a time.
const CHANNELS_MAX = 16_384;

// RFC 6455, 7.1.5: the code of a connection that ended without a close frame.
const ABNORMAL = 1006;

const DEFAULTS = {
  WebSocket: undefined, // the constructor, where there is no global one (Node below 22)
  backoffMs: 250, // the first delay before connecting again; it doubles
  backoffMaxMs: 15_000,
  connectMs: 10_000, // how long a handshake may take
  idleMs: 25_000, // silence after which the server is asked whether it is there
  answerMs: 10_000, // and how long its answer may take
  lastingMs: 5_000, // how long a connection has to last for the next delay to begin anew
  requestsMax: 1_024, // requests without an answer yet
  bufferedBytesMax: 4 << 20, // bytes that the network has not taken yet
};

/** A request that failed: `code` is the server's number, or a word of this client. */
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

  /** Calls the listeners. What one of them throws is reported and stops nobody. */
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

/** Where a channel stands: its last message, and what else is known of the next ones. */
function started(epoch, seq, isSnapshot) {
  return { epoch, seq, isSnapshot, conflatedTo: 0, received: seq, unacknowledged: 0 };
}

/** A channel, or a pattern of channels. Made by `Tapecast.subscribe`. */
export class Subscription extends Emitter {
  #tapecast;
  #positions = new Map(); // channel -> what `started` returns
  #resolve;
  #reject;
  #isEnded = false;
  _asked; // the id of the last request for it

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
    // A refusal is an event as well: who does not await is not punished for it.
    this.ready.catch(() => {});
  }

  /** Where a channel can be resumed: of the pattern's channels, the one named. */
  position(channel = this.channel) {
    const position = this.#positions.get(channel);
    if (!position || position.isSnapshot || position.epoch === undefined) return undefined;
    return { epoch: position.epoch, seq: position.seq };
  }

  /** Everything up to `seq`, or to the last message, is done with. */
  ack(seq, channel = this.channel) {
    const position = this.#positions.get(channel);
    if (!position) return;
    position.unacknowledged = 0;
    // Small, and the server may be waiting for it: whatever else is under way.
    this.#tapecast._send({ type: 'ack', channel, seq: seq ?? position.received }, true);
  }

  unsubscribe() {
    return this.#tapecast._unsubscribe(this);
  }

  /** What asks for it, anew or for the rest. */
  _request() {
    const { mode, maxRate, snapshot, window, since, name } = this.options;
    const request = { type: 'subscribe', channel: this.channel };
    if (mode) request.mode = mode;
    if (maxRate) request.max_rate = maxRate;
    if (window) request.window = window;
    if (name !== undefined) request.name = name;
    const position = this.#positions.get(this.channel);
    const from = position ? this.position() : since;
    // Where it can't go on, a snapshot follows unasked.
    if (from) request.since = from;
    else if (snapshot || position) request.snapshot = true;
    return request;
  }

  _subscribed({ channel, epoch, seq, recovered, listed }) {
    this.#resolve(this);
    // The pattern itself: each of its channels is told of.
    if (epoch === undefined) return;
    const before = this.#positions.get(channel);
    const asksPast = !this.isPattern && (this.options.snapshot || this.options.since || before);
    this.#place(channel, started(epoch, seq, !recovered && Boolean(asksPast)));
    const event = { channel, epoch, seq, recovered };
    // The name that was given is on no list, for the channel has none.
    if (listed === false) event.listed = false;
    this._emit('subscribed', event);
    if (before?.epoch === undefined) return;
    const { epoch: epochBefore, seq: seqBefore } = before;
    // An interrupted snapshot may have brought later messages than its position says.
    const isOther = epochBefore !== epoch || seqBefore !== seq || before.isSnapshot;
    if (this.isPattern && epochBefore === epoch) {
      // What came while nobody listened.
      if (seq > seqBefore) this._emit('gap', { channel, from: seqBefore + 1, to: seq });
    } else if ((this.isPattern || !recovered) && isOther) {
      // Where a pattern begins is the server's choice, which it calls recovered.
      const previous = { epoch: epochBefore, seq: seqBefore };
      this._emit('reset', { channel, previous, epoch, seq });
    }
  }

  /** A pattern may find ever new channels: the oldest are let go of. */
  #place(channel, position) {
    this.#positions.set(channel, position);
    if (this.#positions.size > CHANNELS_MAX) {
      this.#positions.delete(this.#positions.keys().next().value);
    }
  }

  _message(message) {
    const { channel, seq } = message;
    // What a subscription that has ended left behind comes before its `subscribed`.
    if (!this.isPattern && !this.#positions.has(channel)) return;
    // A channel that was subscribed to by name until now goes on without being told of.
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

  /** Everything up to `seq` has been sent. */
  _heartbeat(channel, seq) {
    const position = this.#positions.get(channel);
    if (!position || position.isSnapshot || seq <= position.seq) return;
    this.#expect(channel, position, seq);
    position.seq = seq;
  }

  /** With `all`, a hole that no mark has announced is a gap as well. */
  #expect(channel, position, seq) {
    const from = Math.max(position.seq, position.conflatedTo) + 1;
    if (this.options.mode !== 'latest' && seq >= from) this._emit('gap', { channel, from, to: seq });
  }

  /** Half a window at a time, so that the server never waits for one message. */
  #acknowledge(channel, position) {
    const { window, manualAck } = this.options;
    if (!window || manualAck || this.#isEnded) return;
    position.unacknowledged += 1;
    if (position.unacknowledged * 2 < window) return;
    this.ack(undefined, channel);
  }

  /** It has ended: by the caller, or the server refuses it. */
  _ended(error) {
    this.#isEnded = true;
    this.#reject(error);
  }
}

/** A connection to a server, and what is subscribed to over it. */
export class Tapecast extends Emitter {
  #url;
  #options;
  #socket;
  #state = 'connecting';
  #attempts = 0;
  #openSince; // when the connection opened
  #timer; // to connect again, or for the handshake
  #watch; // for silence
  #heard = 0; // when something came last
  #asked = 0; // when the server was asked whether it is there
  #subscriptions = new Map(); // channel or pattern -> Subscription
  #routes = new Map(); // channel -> Subscription, as found
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

  /** `connecting`, `open`, `waiting` (to connect again), or `closed`. */
  get state() {
    return this.#state;
  }

  /** Subscribes, now or once it is connected, and again whenever it is. */
  subscribe(channel, options = {}, onMessage = undefined) {
    if (this.#state === 'closed') throw new TapecastError('closed', 'the client is closed', channel);
    if (this.#subscriptions.has(channel)) {
      throw new TapecastError('subscribed', `${channel}: subscribed to already`, channel);
    }
    const subscription = new Subscription(this, channel, options);
    if (onMessage) subscription.on('message', onMessage);
    this.#subscriptions.set(channel, subscription);
    this.#routes.clear();
    if (this.#state === 'open') this.#ask(subscription);
    return subscription;
  }

  /** Publishes; resolves with the message's number. Without `confirm`, nothing comes back. */
  publish(channel, message, { key, remove, confirm = true } = {}) {
    const request = { type: 'publish', channel, message: message ?? null };
    if (key !== undefined) request.key = key;
    if (remove) request.remove = true;
    if (confirm) return this.#bounded(request).then((answer) => answer.seq);
    if (this._send(request)) return undefined;
    const isOpen = this.#state === 'open';
    throw new TapecastError(isOpen ? 'full' : 'disconnected', 'it can not be sent now', channel);
  }

  /** Milliseconds there and back. */
  async ping() {
    const start = performance.now();
    await this.#bounded({ type: 'ping' });
    return performance.now() - start;
  }

  /** Ends it, for good. */
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

  /** Sends if it can be sent now. */
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
    // Whatever the answer: it is over.
    await this.#request({ type: 'unsubscribe', channel: subscription.channel }).catch(() => {});
  }

  #ask(subscription) {
    subscription._asked = this.#nextId;
    this.#request(subscription._request()).catch((error) => {
      // A lost connection asks again; what the server refuses stays refused.
      if (typeof error.code !== 'number') return;
      if (this.#subscriptions.get(subscription.channel) !== subscription) return;
      this.#subscriptions.delete(subscription.channel);
      this.#routes.clear();
      subscription._ended(error);
      subscription._emit('error', error);
    });
  }

  /** A request of the caller's, who is refused where there is no room. */
  async #bounded(request) {
    const { requestsMax, bufferedBytesMax } = this.#options;
    if (this.#state === 'closed') {
      throw new TapecastError('closed', 'the client is closed', request.channel);
    }
    if (this.#requests.size >= requestsMax || this.#socket?.bufferedAmount > bufferedBytesMax) {
      throw new TapecastError('full', 'too many requests without an answer', request.channel);
    }
    return this.#request(request);
  }

  /** Sends, now or once it is connected; resolves with the answer. */
  #request(request) {
    const { channel } = request;
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      // First, so that it comes back also where the rest can't be read.
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
    // A listener may have closed it.
    if (this.#state !== 'connecting') return;
    const socket = new this.#options.WebSocket(this.#url, [SUBPROTOCOL]);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    // `close` comes behind it.
    socket.onerror = () => {};
    const late = 'the handshake took too long';
    this.#timer = setTimeout(() => this.#lost(ABNORMAL, late), this.#options.connectMs);
  }

  #opened() {
    clearTimeout(this.#timer);
    // Some constructors open where the server has chosen no subprotocol.
    if (this.#socket.protocol !== SUBPROTOCOL) return this.#isOther('it did not choose the subprotocol');
    this.#openSince = Date.now();
    this.#heard = Date.now();
    this.#asked = 0;
    this.#state = 'open';
    const every = Math.max(50, Math.min(this.#options.idleMs, this.#options.answerMs) / 4);
    this.#watch = setInterval(() => this.#listen(), every);
    for (const subscription of this.#subscriptions.values()) this.#ask(subscription);
    for (const request of this.#requests.values()) {
      if (!request.isSent) this.#socket.send(request.text);
      request.isSent = true;
    }
    // Last, for a listener may subscribe, or close.
    this._emit('state', 'open');
  }

  /** A network that is gone says nothing: silence is asked about. */
  #listen() {
    const now = Date.now();
    if (this.#asked > this.#heard) {
      if (now - this.#asked >= this.#options.answerMs) this.#lost(ABNORMAL, 'no answer');
    } else if (now - this.#heard >= this.#options.idleMs) {
      this.#asked = now;
      this.#socket.send('{"type":"ping"}');
    }
  }

  /** Lets go of the socket. */
  #drop(state) {
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#turn(state);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    // Where the network is gone, so is the answer to a close: npm's ws can do without.
    if (state === 'waiting' && socket.terminate) socket.terminate();
    else socket.close();
  }

  /** The connection is over: with the server's code and reason, or 1006 and this client's. */
  #lost(code, reason) {
    if (this.#state === 'closed' || this.#state === 'waiting') return;
    const lasted = this.#openSince === undefined ? 0 : Date.now() - this.#openSince;
    this.#openSince = undefined;
    this.#drop('waiting');
    this._emit('disconnect', { code, reason });
    // A listener may have closed it.
    if (this.#state !== 'waiting') return;
    for (const [id, request] of [...this.#requests]) {
      // Nobody knows what became of them; those that never left are sent later.
      if (request.isSent) this.#fail(id, 'disconnected', 'the connection was lost');
    }
    // Spread over the whole delay, so that a thousand clients don't come at once.
    const { backoffMs, backoffMaxMs, lastingMs } = this.#options;
    const delayAfter = (attempts) => Math.min(backoffMaxMs, backoffMs * 2 ** Math.min(attempts, 16));
    // A server that greets and goes again has not come back.
    if (lasted >= Math.max(lastingMs, delayAfter(this.#attempts))) this.#attempts = 0;
    const delay = delayAfter(this.#attempts);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#connect(), delay * Math.random());
  }

  /** What is at the other end does not speak the protocol: reported, and tried again later. */
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
      // Not of a listener: what those throw is caught where they are called.
      this.#isOther(`it sent what can not be read (${error.message})`);
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
        // One with another id answers a subscription of this name that has ended.
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

  /** The subscription of a channel: by its name, or else by the first pattern that matches. */
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

/** `/` of the server that the page came from. */
function here() {
  const { protocol, host } = globalThis.location;
  return `${protocol === 'https:' ? 'wss' : 'ws'}://${host}/`;
}

// Types of tapecast.js: a client of tapecast.v1.json for browsers and Node.

/** Where in a channel: its incarnation, and the number of a message. */
export interface Position {
  epoch: number;
  seq: number;
}

/** A publication. */
export interface Message<T = unknown> {
  channel: string;
  /** The channel's number of it, from 1, without holes. */
  seq: number;
  /** Milliseconds since 1970 at the server. */
  time: number;
  key?: string;
  /** The key has no value any more. */
  removed?: true;
  /** It is one of a snapshot's newest values. */
  snapshot?: true;
  message: T;
}

/** Messages `from` to `to`, both included. */
export interface Range {
  channel: string;
  from: number;
  to: number;
}

export interface SubscribeOptions {
  /** Every message in order, or of each key the newest. */
  mode?: 'all' | 'latest';
  /** Moves a second at most, 1 to 1000; each brings all that is pending. */
  maxRate?: number;
  /** The newest value of every key first. */
  snapshot?: boolean;
  /** Go on behind this message. */
  since?: Position;
  /** Messages that may be on their way without an `ack`, 1 to 65536. */
  window?: number;
  /** Call `ack` yourself; otherwise it is done when the listeners have returned. */
  manualAck?: boolean;
  /** Be listed under this name in `$presence.CHANNEL`, if the channel's rule has a list. */
  name?: string;
}

export interface SubscriptionEvents<T> {
  message: (message: Message<T>) => void;
  /** It is live: the first time, or again. */
  subscribed: (event: Position & { channel: string; recovered: boolean; listed?: false }) => void;
  /** After a lost connection it could not go on where it was: it starts anew. */
  reset: (event: Position & { channel: string; previous: Position }) => void;
  /** These messages do not come. */
  gap: (event: Range) => void;
  /** Of these messages the newest of each key come. */
  conflated: (event: Range) => void;
  snapshot: (event: { channel: string; count: number }) => void;
  /** `complete` is false if the server keeps the values of fewer keys than there are. */
  snapshot_end: (event: { channel: string; seq: number; complete: boolean }) => void;
  /** The server refuses it, for good. */
  error: (error: TapecastError) => void;
}

export interface TapecastOptions {
  /** A WebSocket constructor, where there is no global one (Node below 22). */
  WebSocket?: unknown;
  /** The first delay before connecting again, spread at random; it doubles. 250. */
  backoffMs?: number;
  /** 15,000. */
  backoffMaxMs?: number;
  /** How long a handshake may take. 10,000. */
  connectMs?: number;
  /** Silence after which the server is asked whether it is there. 25,000. */
  idleMs?: number;
  /** How long its answer may take. 10,000. */
  answerMs?: number;
  /** How long a connection has to last for the next delay to begin anew. 5,000. */
  lastingMs?: number;
  /** Requests without an answer; above it they are refused with `full`. 1,024. */
  requestsMax?: number;
  /** Bytes that the network has not taken; above it, the same. 4 MiB. */
  bufferedBytesMax?: number;
}

export interface PublishOptions {
  key?: string;
  /** From now on the key has no value. */
  remove?: boolean;
  /** `false`: nothing comes back, and it throws when it can't be sent at once. */
  confirm?: boolean;
}

export interface TapecastEvents {
  state: (state: State) => void;
  /** A connection is over, or there was none: with the server's close code and reason, or
   * 1006 and what this client knows. It is tried again, until `close`. */
  disconnect: (event: { code: number; reason: string }) => void;
  /** The server goes away; the client comes back by itself, to it or another. */
  shutdown: (event: { withinMs: number }) => void;
  /** What the server refuses and no promise tells. */
  error: (error: TapecastError) => void;
}

export type State = 'connecting' | 'open' | 'waiting' | 'closed';

export class TapecastError extends Error {
  /**
   * The server's number (docs/protocol.md), or of this client: `disconnected` (sent, and
   * nobody knows what became of it; without `confirm`, not sent), `full`, `subscribed`,
   * `closed`, `protocol` (the other side speaks something else).
   */
  readonly code: number | 'disconnected' | 'full' | 'subscribed' | 'closed' | 'protocol';
  readonly channel?: string;
}

export class Subscription<T = unknown> {
  readonly channel: string;
  readonly options: SubscribeOptions;
  /** With `*` or `>`: several channels, now or later. */
  readonly isPattern: boolean;
  /** The first answer of the server. */
  readonly ready: Promise<this>;
  /** Calls `listener` from now on, until the returned function is called. */
  on<E extends keyof SubscriptionEvents<T>>(event: E, listener: SubscriptionEvents<T>[E]): () => void;
  /** Where it could be resumed: the last message handed on; none before it is live, or
   * while a snapshot comes. */
  position(channel?: string): Position | undefined;
  /** Everything up to `seq`, or to the last message, is done with. */
  ack(seq?: number, channel?: string): void;
  unsubscribe(): Promise<void>;
}

export class Tapecast {
  /** Connects, to `/` of the page's server unless there is a URL. */
  constructor(url?: string, options?: TapecastOptions);
  readonly state: State;
  on<E extends keyof TapecastEvents>(event: E, listener: TapecastEvents[E]): () => void;
  /** Subscribes, now or once connected, and again whenever it is. */
  subscribe<T = unknown>(
    channel: string,
    options?: SubscribeOptions,
    onMessage?: (message: Message<T>) => void,
  ): Subscription<T>;
  /** Resolves with the message's number. */
  publish(channel: string, message: unknown, options?: PublishOptions & { confirm?: true }): Promise<number>;
  publish(channel: string, message: unknown, options: PublishOptions & { confirm: false }): void;
  /** Milliseconds there and back. */
  ping(): Promise<number>;
  /** Ends it, for good. */
  close(): void;
}

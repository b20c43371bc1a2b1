// Types of tapecast.js: a client of tapecast.v1.json for browsers and Node.

/** A position in a channel: its epoch, and the sequence number of a message. */
export interface Position {
  epoch: number;
  seq: number;
}

/** A publication. */
export interface Message<T = unknown> {
  channel: string;
  /** Its sequence number in the channel, from 1, without gaps. */
  seq: number;
  /** Milliseconds since 1970, by the server's clock. */
  time: number;
  key?: string;
  /** The message removes the key. */
  removed?: true;
  /** The message is part of a snapshot. */
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
  /** Every message in order, or the newest of each key. */
  mode?: 'all' | 'latest';
  /** Deliveries a second at most, 1 to 1000; each carries all pending messages. */
  maxRate?: number;
  /** Begin with the newest value of every key. */
  snapshot?: boolean;
  /** Resume after this message. */
  since?: Position;
  /** How many messages may be in flight without an `ack`, 1 to 65536. */
  window?: number;
  /** Call `ack` yourself; otherwise the client does when the listeners have returned. */
  manualAck?: boolean;
  /** Be listed under this name in `$presence.CHANNEL`, if the channel's rule enables presence. */
  name?: string;
}

export interface SubscriptionEvents<T> {
  message: (message: Message<T>) => void;
  /** The subscription is live: the first time, or again. */
  subscribed: (event: Position & { channel: string; recovered: boolean; listed?: false }) => void;
  /** After a lost connection it could not resume at its position, and restarts. */
  reset: (event: Position & { channel: string; previous: Position }) => void;
  /** These messages are lost. */
  gap: (event: Range) => void;
  /** These messages are conflated: only the newest of each key follow. */
  conflated: (event: Range) => void;
  snapshot: (event: { channel: string; count: number }) => void;
  /** `complete` is false if the server does not keep the values of all keys. */
  snapshot_end: (event: { channel: string; seq: number; complete: boolean }) => void;
  /** The server has refused it for good. */
  error: (error: TapecastError) => void;
}

export interface TapecastOptions {
  /** A WebSocket constructor, where there is no global one (Node below 22). */
  WebSocket?: unknown;
  /** The first delay before reconnecting, with random spread; it doubles. Default: 250. */
  backoffMs?: number;
  /** The longest delay before reconnecting. Default: 15,000. */
  backoffMaxMs?: number;
  /** How long a handshake may take. Default: 10,000. */
  connectMs?: number;
  /** Silence after which the client pings the server. Default: 25,000. */
  idleMs?: number;
  /** How long the answer to a ping may take. Default: 10,000. */
  answerMs?: number;
  /** How long a connection has to last for the delay to start over. Default: 5,000. */
  lastingMs?: number;
  /** Requests in flight; further ones are refused with `full`. Default: 1,024. */
  requestsMax?: number;
  /** Unsent bytes; above them, requests are refused with `full`. Default: 4 MiB. */
  bufferedBytesMax?: number;
}

export interface PublishOptions {
  key?: string;
  /** The message removes the key. */
  remove?: boolean;
  /** `false`: there is no answer, and it throws if the message can't be sent at once. */
  confirm?: boolean;
}

export interface TapecastEvents {
  state: (state: State) => void;
  /** A connection has ended or could not be made: with the server's close code and reason, or
   * 1006 and this client's reason. The client reconnects, until `close`. */
  disconnect: (event: { code: number; reason: string }) => void;
  /** The server shuts down; the client reconnects by itself, to it or to another. */
  shutdown: (event: { withinMs: number }) => void;
  /** A refusal of the server that no promise reports. */
  error: (error: TapecastError) => void;
}

export type State = 'connecting' | 'open' | 'waiting' | 'closed';

export class TapecastError extends Error {
  /**
   * The server's error code (docs/protocol.md), or one of this client: `disconnected` (sent, but the
   * outcome is unknown; without `confirm`, not sent), `full`, `subscribed`,
   * `closed`, `protocol` (the server speaks another protocol).
   */
  readonly code: number | 'disconnected' | 'full' | 'subscribed' | 'closed' | 'protocol';
  readonly channel?: string;
}

export class Subscription<T = unknown> {
  readonly channel: string;
  readonly options: SubscribeOptions;
  /** Whether the channel has `*` or `>` and stands for several channels. */
  readonly isPattern: boolean;
  /** The first answer of the server. */
  readonly ready: Promise<this>;
  /** Calls `listener` from now on, until the returned function is called. */
  on<E extends keyof SubscriptionEvents<T>>(event: E, listener: SubscriptionEvents<T>[E]): () => void;
  /** The position at which it can be resumed: the last delivered message. `undefined` before it
   * is live, or during a snapshot. */
  position(channel?: string): Position | undefined;
  /** Acknowledges all messages up to `seq`, or up to the last one. */
  ack(seq?: number, channel?: string): void;
  unsubscribe(): Promise<void>;
}

export class Tapecast {
  /** Connects, to `/` of the page's server unless there is a URL. */
  constructor(url?: string, options?: TapecastOptions);
  readonly state: State;
  on<E extends keyof TapecastEvents>(event: E, listener: TapecastEvents[E]): () => void;
  /** Subscribes now, or once connected, and again after every reconnect. */
  subscribe<T = unknown>(
    channel: string,
    options?: SubscribeOptions,
    onMessage?: (message: Message<T>) => void,
  ): Subscription<T>;
  /** Resolves with the message's sequence number. */
  publish(channel: string, message: unknown, options?: PublishOptions & { confirm?: true }): Promise<number>;
  publish(channel: string, message: unknown, options: PublishOptions & { confirm: false }): void;
  /** Resolves with the round trip in milliseconds. */
  ping(): Promise<number>;
  /** Closes the client for good. */
  close(): void;
}

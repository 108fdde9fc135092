// The contract between the connection layer and whatever moves the bytes. A transport knows nothing
// of frames. It names its connections by channel: a small number, reused after onClose, that both
// sides use as an index. Nothing is allocated per event, so that a native loop can hand over a
// batch of (channel, offset, length) records with one call.
//
// Rules for both sides:
// - Callbacks never await and never throw; bytes are valid until onChunk returns.
// - onOpen comes first, onClose last and exactly once; after onClose the channel means nothing.
// - A call about a channel may close this or another channel, from inside any callback.
// - The connection layer decides why a connection ends and records it before it asks to close.

import type { Bytes, Slab } from "../base/buffer-pool.ts";

export type ChannelId = number;

export const TRANSPORT_KINDS = ["tcp-net", "tcp-epoll", "websocket", "memory"] as const;
export type TransportKind = (typeof TRANSPORT_KINDS)[number];

/** What became of a write. */
export const WRITE = {
  /**
   * All of it was taken; the memory may be reused at once unless the transport retained the slab.
   * A transport that gathers writes says so before it has asked the kernel: see onQueued.
   */
  SENT: 0,
  /** Some of it waits: `queued[channel]` is above zero and onDrain will come. */
  QUEUED: 1,
  /** Nothing was taken: the channel is closing or closed. */
  REFUSED: 2,
} as const;
export type WriteOutcome = (typeof WRITE)[keyof typeof WRITE];

/** What a peer did wrong below our frames. */
export const TRANSPORT_FAULTS = ["text_message", "empty_message"] as const;
export type TransportFault = (typeof TRANSPORT_FAULTS)[number];

/** How a channel ended, as far as the transport can see. */
export const TRANSPORT_ENDS = [
  /** Both directions were closed in order. */
  "closed",
  /** The peer reset the connection, or the network did. */
  "reset",
  /** The transport's own protocol was broken (a malformed WebSocket frame, say). */
  "malformed",
] as const;
export type TransportEnd = (typeof TRANSPORT_ENDS)[number];

/** A piece of a slab. Send-queue entries are slices, so a queue is written without copying it. */
export interface Slice {
  readonly slab: Slab;
  readonly start: number;
  readonly end: number;
}

/** What the kernel says of a TCP connection. */
export interface TcpInfo {
  /** Smoothed round-trip time and its variance, in milliseconds. */
  readonly rttMs: number;
  readonly rttVarianceMs: number;
  /** Segments sent again since the connection was opened. */
  readonly retransmits: number;
  /** Bytes that were sent and not acknowledged (by whole segments), and those not sent yet. */
  readonly unackedBytes: number;
  readonly unsentBytes: number;
}

export interface TransportHandler {
  /** Asked before anything is allocated for a new connection. False: it is cut off at once. */
  admit(): boolean;
  onOpen(channel: ChannelId): void;
  onChunk(channel: ChannelId, bytes: Bytes, start: number, end: number): void;
  /**
   * Something that a write called SENT waits after all: `queued[channel]` says how much, and
   * onDrain will come. Only from transports that gather writes before they ask the kernel.
   */
  onQueued(channel: ChannelId): void;
  /** All that was queued has been taken. */
  onDrain(channel: ChannelId): void;
  /** The peer will send no more; it may still read. */
  onEnd(channel: ChannelId): void;
  /** A control frame of the transport's own, such as a ping: no bytes of ours. */
  onSign(channel: ChannelId): void;
  /** The peer broke the transport's protocol; the handler closes the channel. */
  onFault(channel: ChannelId, fault: TransportFault): void;
  onClose(channel: ChannelId, end: TransportEnd, detail: string): void;
  /** Accepting failed, for want of files say. Nothing was opened. */
  onAcceptError(code: string): void;
}

export interface TransportAddress {
  readonly host: string;
  readonly port: number;
  /** Unix socket path, instead of host and port. */
  readonly path: string | null;
}

export interface Transport {
  readonly kind: TransportKind;
  /** Every chunk is one message of the peer's: it must hold whole frames. */
  readonly hasMessages: boolean;
  /**
   * Writes wait for the end of the turn and keep their slab: many small ones make one system call,
   * and one slab serves many connections. Where not, each write is a system call of its own.
   */
  readonly gathersWrites: boolean;
  /** Whether {@link pause} really stops bytes from coming; where not, limits close. */
  readonly canPause: boolean;
  /**
   * Bytes taken by write that the kernel has not taken yet, by channel: readable without a call.
   * The array is replaced when it grows, so it is read from here each time.
   */
  readonly queued: Float64Array;
  /** Files held by connections that were accepted but not opened (before their upgrade, say). */
  readonly pendingFiles: number;

  /** Rejects with HOLDFAST_LISTEN_FAILED. */
  listen(): Promise<TransportAddress>;
  /**
   * Closes the listening socket; connections stay.
   * @param isForGood it is not resumed any more: an inherited socket that could not be opened again
   * is let go of too, so that whoever else has it serves those who come.
   */
  stopAccepting(isForGood?: boolean): void;
  /** Opens it again at the same address. Rejects with HOLDFAST_LISTEN_FAILED. */
  resumeAccepting(): Promise<void>;
  /**
   * Accepts on these inherited listening sockets too, besides its own; those that it has already
   * make no difference. While accepting is stopped it begins when that is resumed. Rejects with
   * HOLDFAST_LISTEN_FAILED, HOLDFAST_SERVER_STATE; without the method it can adopt none.
   */
  adopt?(fds: readonly number[]): Promise<void>;
  /** Accepts on these no more; they stay open. Those that it does not have make no difference. */
  release?(fds: readonly number[]): void;
  /** Cuts off every connection and lets everything go. */
  destroy(): void;

  /**
   * Sends slab.bytes[start..end]. The caller may reuse them afterwards unless the transport
   * retained the slab, which it does as long as it needs the bytes. Limits are the caller's affair:
   * it stops writing while `queued[channel]` is above zero, but for control frames.
   */
  write(channel: ChannelId, slab: Slab, start: number, end: number): WriteOutcome;
  /** Sends several slices in order, gathered into as few system calls as the transport can. */
  writev(channel: ChannelId, slices: readonly Slice[]): WriteOutcome;
  /** {@link queued}, asked of the library at this moment: shows progress inside one large write. */
  queuedNow(channel: ChannelId): number;
  pause(channel: ChannelId): void;
  resume(channel: ChannelId): void;
  /** Ends in order, after what is queued: FIN, or a WebSocket close frame with this code. */
  close(channel: ChannelId, code: number, reason: string): void;
  /** Ends at once; what is queued is lost. */
  reset(channel: ChannelId): void;
  /** For logs and admission; "" where there is none. */
  remoteAddress(channel: ChannelId): string;
  /**
   * Costs a system call. Null where the channel is not open or no TCP; without the method the
   * transport cannot ask at all.
   */
  tcpInfo?(channel: ChannelId): TcpInfo | null;
}

// A worker's end of the star whose middle is the hub in the supervisor. What the worker sends is
// gathered for a turn of its loop; what comes is handed on a bit at a time, so that a flood of
// events leaves room for everything else.

import type { Duplex } from "node:stream";
import type { Bytes } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import type { Bus, BusHandler, BusLabel, BusOutcome, TopicMember } from "./bus.ts";
import {
  broken,
  BUS_FRAME,
  type BusFrameInit,
  busFrameBytes,
  BusReader,
  isBroken,
} from "./bus-frame.ts";
import { BusWriter } from "./bus-writer.ts";

/** What may wait for the hub before a publish is refused. */
const QUEUE_BYTES_MAX = 16 * 1_048_576;
/** Connections that events are sent to in one turn; a frame counts as ten. */
const WORK_PER_TURN = 4_000;
const FRAME_WORK = 10;
/** How long close() waits for a hub that does not read. */
const CLOSE_TIMEOUT_MS = 1_000;

interface Joined {
  readonly member: TopicMember;
  /** Tells this JOIN's answer from one that came too late. */
  readonly token: number;
  /** The hub has answered: events that came before were meant for an earlier join. */
  isJoined: boolean;
}

export class LocalBus implements Bus {
  readonly member: number;
  readonly #socket: Duplex;
  readonly #clock: Clock;
  readonly #reader: BusReader = new BusReader();
  readonly #writer: BusWriter;
  readonly #topics: Map<string, Joined> = new Map();
  /** By request: who waits for how many connections were reached. */
  readonly #reaches: Map<number, (reached: number) => void> = new Map();
  #handler: BusHandler | null = null;
  #token: number = 0;
  #request: number = 0;
  #isFlushScheduled: boolean = false;
  #hasEnded: boolean = false;

  /**
   * @param worker its number, 1 or more.
   * @param socket one end of a socket pair; the hub has the other.
   */
  constructor(worker: number, socket: Duplex, clock: Clock) {
    this.member = worker;
    this.#socket = socket;
    this.#clock = clock;
    this.#writer = new BusWriter(socket);
  }

  /** Bytes that wait for the hub. */
  get queuedBytes(): number {
    return this.#writer.queuedBytes;
  }

  start(handler: BusHandler): void {
    this.#handler = handler;
    const socket = this.#socket;
    socket.on("data", (chunk: Buffer) => {
      this.#reader.add(chunk);
      this.#read();
    });
    socket.on("error", (error: Error) => this.#end(error));
    socket.on("end", () => this.#end(null));
    socket.on("close", () => this.#end(null));
    if (socket.destroyed) this.#clock.afterPoll(() => this.#end(null));
  }

  join(topic: string, member: TopicMember): void {
    // The hub repeats it as 32 bits; nobody waits for an answer that is 4 billion joins old.
    this.#token = (this.#token + 1) >>> 0;
    this.#topics.set(topic, { member, token: this.#token, isJoined: false });
    this.#send({ kind: BUS_FRAME.JOIN, number: this.#token, topic });
  }

  leave(topic: string): void {
    if (this.#topics.delete(topic)) this.#send({ kind: BUS_FRAME.LEAVE, topic });
  }

  publish(topic: string, payload: Bytes): BusOutcome {
    return this.#offer({ kind: BUS_FRAME.PUBLISH, topic, payload });
  }

  send(member: number, id: string, topic: string, payload: Bytes): BusOutcome {
    return this.#offer({ kind: BUS_FRAME.SEND, number: member, target: id, topic, payload });
  }

  reach(label: BusLabel, topic: string, payload: Bytes): Promise<number> {
    const target = label === null ? "" : `${label[0]}=${label[1]}`;
    const value = ++this.#request;
    if (this.#offer({ kind: BUS_FRAME.REACH, value, target, topic, payload }) === "full") {
      return Promise.resolve(0);
    }
    if (this.#hasEnded) return Promise.resolve(0);
    return new Promise((resolve) => void this.#reaches.set(value, resolve));
  }

  close(): Promise<void> {
    if (this.#hasEnded) return Promise.resolve();
    const socket = this.#socket;
    this.#hasEnded = true;
    this.#forgetAll();
    return new Promise((resolve) => {
      const timeout = this.#clock.after(CLOSE_TIMEOUT_MS, () => void socket.destroy());
      socket.once("close", () => {
        timeout.cancel();
        resolve();
      });
      this.#writer.flush();
      // Whatever the writer still holds goes out before the callback of its last write.
      this.#endWhenWritten();
    });
  }

  #endWhenWritten(): void {
    if (this.#socket.destroyed) return;
    if (this.#writer.queuedBytes > 0) this.#clock.after(1, () => this.#endWhenWritten());
    else this.#socket.end(() => void this.#socket.destroy());
  }

  #offer(frame: BusFrameInit): BusOutcome {
    const bytes = busFrameBytes(frame);
    if (this.#hasEnded) return "taken";
    if (this.#writer.queuedBytes + bytes > QUEUE_BYTES_MAX) return "full";
    this.#send(frame);
    return "taken";
  }

  #send(frame: BusFrameInit): void {
    if (this.#hasEnded) return;
    this.#writer.frame(frame);
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    this.#clock.afterPoll(() => {
      this.#isFlushScheduled = false;
      this.#writer.flush();
    });
  }

  #read(): void {
    try {
      for (let work = 0; work < WORK_PER_TURN; ) {
        if (this.#hasEnded) return;
        if (!this.#reader.next()) {
          if (this.#socket.isPaused()) this.#socket.resume();
          return;
        }
        work += FRAME_WORK + this.#take(this.#reader);
      }
    } catch (error) {
      if (!isBroken(error)) throw error;
      this.#end(error);
      return;
    }
    this.#socket.pause();
    this.#clock.afterPoll(() => this.#read());
  }

  /** @returns to how many connections it was sent. */
  #take(frame: BusReader): number {
    switch (frame.kind) {
      case BUS_FRAME.EVENT: {
        const joined = this.#topics.get(frame.topic);
        if (joined?.isJoined !== true) return 0;
        return joined.member.onEvent(frame.value, frame.payload);
      }
      case BUS_FRAME.JOINED: {
        const joined = this.#topics.get(frame.topic);
        if (joined?.token !== frame.number || joined.isJoined) return 0;
        joined.isJoined = true;
        joined.member.onJoined(frame.value);
        return 0;
      }
      case BUS_FRAME.SEND:
        this.#handler!.onSend(frame.target, frame.topic, frame.payload);
        return 1;
      case BUS_FRAME.REACH:
        this.#reachHere(frame);
        return 0;
      case BUS_FRAME.REACHED:
        this.#reaches.get(frame.value)?.(frame.number);
        this.#reaches.delete(frame.value);
        return 0;
      default:
        return broken(`a frame of kind ${frame.kind}, which the hub does not send,`);
    }
  }

  #reachHere({ target, topic, payload, value }: BusReader): void {
    const at = target.indexOf("=");
    const label: BusLabel = at === -1 ? null : [target.slice(0, at), target.slice(at + 1)];
    void this.#handler!.onReach(label, topic, payload).then((number) =>
      this.#send({ kind: BUS_FRAME.REACHED, value, number }),
    );
  }

  #end(error: Error | null): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#socket.destroy();
    this.#forgetAll();
    this.#handler?.onEnd(error);
  }

  #forgetAll(): void {
    this.#topics.clear();
    for (const resolve of this.#reaches.values()) resolve(0);
    this.#reaches.clear();
  }
}

// The middle of the star: it lives in the supervisor, with one socket per worker. It numbers the
// events of each topic and forwards them to the workers that joined it, and passes pushes on. A
// worker that does not read loses events, and nobody else does.
//
//   worker --PUBLISH--> hub --EVENT(offset)--> every member of the topic, the publisher included
//   worker --REACH----> hub --REACH(request)-> all others; their REACHED are added up and sent back

import type { Duplex } from "node:stream";
import { assert } from "../base/assert.ts";
import type { Clock, Scheduled } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { broken, BUS_FRAME, type BusFrameInit, BusReader, isBroken } from "./bus-frame.ts";
import { BusWriter } from "./bus-writer.ts";

/** What may wait for one worker; beyond it, events and pushes for that worker are dropped. */
const QUEUE_BYTES_MAX = 64 * 1_048_576;
/** Answers are never dropped: a worker that asks so much without reading is broken. */
const ANSWER_BYTES_MAX = 16 * 1_048_576;
/** How long the workers have to say how many connections a push reached. */
const REACH_TIMEOUT_MS = 5_000;

export interface HubParts {
  readonly clock: Clock;
  /** Default: 64 MiB. */
  readonly queueBytesMax?: number;
  /** What a worker sent cannot be read. Its socket is closed: restart it. */
  readonly onFault?: (worker: number, error: HoldfastError) => void;
}

/** Since the hub began, of workers that are gone as well. */
export interface HubCounters {
  framesIn: number;
  bytesIn: number;
  framesOut: number;
  bytesOut: number;
  /** Events and pushes that did not fit a worker's queue. */
  dropped: number;
  faults: number;
}

class Member {
  readonly worker: number;
  readonly socket: Duplex;
  readonly reader: BusReader = new BusReader();
  readonly writer: BusWriter;
  readonly topics: Set<string> = new Set();
  dropped: number = 0;
  /** Neighbouring frames of what is being read, to be copied in one go. */
  runBytes: Buffer | null = null;
  runStart: number = 0;
  runEnd: number = 0;
  /** Something is to be flushed. */
  isTouched: boolean = false;
  isAttached: boolean = true;

  constructor(worker: number, socket: Duplex) {
    this.worker = worker;
    this.socket = socket;
    this.writer = new BusWriter(socket);
  }

  get queuedBytes(): number {
    return this.writer.queuedBytes + this.runEnd - this.runStart;
  }

  forward(bytes: Buffer, start: number, end: number): void {
    if (this.runBytes !== bytes || this.runEnd !== start) {
      this.endRun();
      this.runBytes = bytes;
      this.runStart = start;
    }
    this.runEnd = end;
  }

  endRun(): void {
    if (this.runBytes !== null) this.writer.copy(this.runBytes, this.runStart, this.runEnd);
    this.runBytes = null;
    this.runStart = this.runEnd = 0;
  }
}

interface Topic {
  /** Of the newest event. */
  offset: number;
  readonly members: Member[];
}

/** A push to all others that they have not all answered. */
interface Reach {
  readonly origin: Member;
  /** The origin's own number for it. */
  readonly request: number;
  readonly waitsFor: Set<Member>;
  readonly timeout: Scheduled;
  reached: number;
}

export class Hub {
  readonly counters: HubCounters = {
    framesIn: 0,
    bytesIn: 0,
    framesOut: 0,
    bytesOut: 0,
    dropped: 0,
    faults: 0,
  };
  readonly #clock: Clock;
  readonly #queueBytesMax: number;
  readonly #onFault: (worker: number, error: HoldfastError) => void;
  readonly #members: Map<number, Member> = new Map();
  /** By the name's bytes as latin1, which is cheaper than the name. */
  readonly #topics: Map<string, Topic> = new Map();
  readonly #reaches: Map<number, Reach> = new Map();
  /** Members with something to flush. */
  readonly #touched: Member[] = [];
  #reachSerial: number = 0;

  constructor({ clock, queueBytesMax = QUEUE_BYTES_MAX, onFault = () => undefined }: HubParts) {
    this.#clock = clock;
    this.#queueBytesMax = queueBytesMax;
    this.#onFault = onFault;
  }

  /** Topics that some worker has joined. */
  get topicCount(): number {
    return this.#topics.size;
  }

  /** Bytes that wait for a worker, and what it lost; null where it is not attached. */
  backlogOf(worker: number): { readonly queuedBytes: number; readonly dropped: number } | null {
    const member = this.#members.get(worker);
    if (member === undefined) return null;
    return { queuedBytes: member.queuedBytes, dropped: member.dropped };
  }

  /** Owns the socket from here on. The worker is detached by itself when the socket ends. */
  attach(worker: number, socket: Duplex): void {
    assert(!this.#members.has(worker), "no worker's number is used twice");
    const member = new Member(worker, socket);
    this.#members.set(worker, member);
    socket.on("data", (chunk: Buffer) => this.#read(member, chunk));
    // An error is followed by "close".
    socket.on("error", () => undefined);
    socket.on("end", () => this.#detach(member));
    socket.on("close", () => this.#detach(member));
  }

  /** Closes the worker's socket and forgets it; one that is not attached is no mistake. */
  detach(worker: number): void {
    const member = this.#members.get(worker);
    if (member !== undefined) this.#detach(member);
  }

  /** Closes all sockets; the workers go on by themselves. */
  close(): void {
    for (const member of [...this.#members.values()]) this.#detach(member);
  }

  #read(member: Member, chunk: Buffer): void {
    if (!member.isAttached) return;
    this.counters.bytesIn += chunk.length;
    const { reader } = member;
    reader.add(chunk);
    try {
      while (member.isAttached && reader.next()) {
        this.counters.framesIn++;
        this.#take(member, reader);
      }
    } catch (error) {
      if (!isBroken(error)) throw error;
      this.#fault(member, error);
    } finally {
      this.#flush();
    }
  }

  #take(member: Member, frame: BusReader): void {
    switch (frame.kind) {
      case BUS_FRAME.PUBLISH:
        return this.#publish(frame);
      case BUS_FRAME.JOIN:
        return this.#join(member, frame);
      case BUS_FRAME.LEAVE:
        return this.#leave(member, frame.topicKey);
      case BUS_FRAME.SEND: {
        const target = this.#members.get(frame.number);
        if (target !== undefined) this.#forward(target, frame);
        return;
      }
      case BUS_FRAME.REACH:
        return this.#reach(member, frame);
      case BUS_FRAME.REACHED:
        return this.#reached(member, frame);
      default:
        broken(`a frame of kind ${frame.kind}, which a worker does not send,`);
    }
  }

  #publish(frame: BusReader): void {
    const topic = this.#topics.get(frame.topicKey);
    if (topic === undefined) return;
    frame.rewrite(BUS_FRAME.EVENT, ++topic.offset);
    for (const member of topic.members) this.#forward(member, frame);
  }

  #join(member: Member, frame: BusReader): void {
    const key = frame.topicKey;
    let topic = this.#topics.get(key);
    if (topic === undefined) {
      topic = { offset: 0, members: [] };
      this.#topics.set(key, topic);
    }
    if (member.topics.has(key)) broken("a JOIN of a topic that its worker had joined");
    member.topics.add(key);
    topic.members.push(member);
    const answer = { kind: BUS_FRAME.JOINED, number: frame.number, value: topic.offset };
    this.#answer(member, { ...answer, topic: frame.topic });
  }

  #leave(member: Member, key: string): void {
    const topic = this.#topics.get(key);
    if (topic === undefined || !member.topics.delete(key)) return;
    topic.members.splice(topic.members.indexOf(member), 1);
    if (topic.members.length === 0) this.#topics.delete(key);
  }

  #reach(origin: Member, frame: BusReader): void {
    const request = frame.value;
    const serial = ++this.#reachSerial;
    frame.rewrite(BUS_FRAME.REACH, serial);
    const waitsFor = new Set<Member>();
    for (const member of this.#members.values()) {
      if (member !== origin && this.#forward(member, frame)) waitsFor.add(member);
    }
    const timeout = this.#clock.after(REACH_TIMEOUT_MS, () => this.#reachEnds(serial));
    this.#reaches.set(serial, { origin, request, waitsFor, timeout, reached: 0 });
    if (waitsFor.size === 0) this.#reachEnds(serial);
  }

  #reached(member: Member, frame: BusReader): void {
    const serial = frame.value;
    const reach = this.#reaches.get(serial);
    // It came too late, or twice.
    if (reach === undefined || !reach.waitsFor.delete(member)) return;
    reach.reached += frame.number;
    if (reach.waitsFor.size === 0) this.#reachEnds(serial);
  }

  #reachEnds(serial: number): void {
    const { origin, request, timeout, reached } = this.#reaches.get(serial)!;
    this.#reaches.delete(serial);
    timeout.cancel();
    this.#answer(origin, { kind: BUS_FRAME.REACHED, value: request, number: reached });
    this.#flush();
  }

  /** @returns false: it did not fit and is lost for this member. */
  #forward(member: Member, { bytes, start, end }: BusReader): boolean {
    const length = end - start;
    if (member.queuedBytes + length > this.#queueBytesMax) {
      member.dropped++;
      this.counters.dropped++;
      return false;
    }
    member.forward(bytes, start, end);
    this.#sent(member, length);
    return true;
  }

  #answer(member: Member, frame: BusFrameInit): void {
    if (member.queuedBytes > this.#queueBytesMax + ANSWER_BYTES_MAX) {
      this.#fault(member, new HoldfastError("HOLDFAST_BUS_BROKEN", UNREAD));
      return;
    }
    member.endRun();
    this.#sent(member, member.writer.frame(frame));
  }

  #sent(member: Member, bytes: number): void {
    this.counters.framesOut++;
    this.counters.bytesOut += bytes;
    if (member.isTouched) return;
    member.isTouched = true;
    this.#touched.push(member);
  }

  #flush(): void {
    for (const member of this.#touched) {
      member.isTouched = false;
      member.endRun();
      member.writer.flush();
    }
    this.#touched.length = 0;
  }

  #fault(member: Member, error: HoldfastError): void {
    this.counters.faults++;
    this.#detach(member);
    this.#onFault(member.worker, error);
  }

  #detach(member: Member): void {
    if (!member.isAttached) return;
    member.isAttached = false;
    this.#members.delete(member.worker);
    member.socket.destroy();
    for (const key of [...member.topics]) this.#leave(member, key);
    for (const [serial, reach] of this.#reaches) {
      if (reach.origin === member) {
        reach.timeout.cancel();
        this.#reaches.delete(serial);
      } else if (reach.waitsFor.delete(member) && reach.waitsFor.size === 0) {
        this.#reachEnds(serial);
      }
    }
  }
}

const UNREAD = "a worker asked and asked over the bus and reads no answers: restart it";

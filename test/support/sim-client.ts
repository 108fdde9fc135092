// A client in the simulation: it does what it is told, comes back when it is cut off, and holds
// the server to the contract in everything that it receives.

import type { MemoryPeer, MemoryTransport } from "../../src/transport/memory.ts";
import {
  call,
  FrameCutter,
  frame,
  goodbye,
  hello,
  publish,
  readServerMessage,
  type ServerMessageRead,
  subscribe,
  unsubscribe,
  varintFrame,
} from "./raw-message.ts";

export type SimState = "down" | "greeting" | "active";

/** What a client knows of a topic that it is subscribed to. */
interface Followed {
  /** Offset of the last event or of the last one missed; null: none was seen yet. */
  last: number | null;
  /** A Gap came and its event has not. */
  hasGap: boolean;
  /** Events received and events missed since the subscription. */
  counted: number;
}

interface Awaited {
  readonly kind: "echo" | "sleep" | "fail" | "unknown" | "publish" | "subscribe" | "unsubscribe";
  readonly text: string;
}

/** A number that an event carries, so that everybody's view of it can be compared. */
export interface SeenEvent {
  readonly topic: string;
  readonly number: number;
  readonly offset: number;
}

export interface SimClientOwner {
  /** Throws where the client saw something that must not be. */
  onEvent(event: SeenEvent): void;
  onDown(client: SimClient, code: number): void;
  violated(what: string): never;
}

export class SimClient {
  readonly name: string;
  state: SimState = "down";
  /** Bytes were sent that no honest client would send: any end is deserved. */
  isHostile: boolean = false;
  /** It was told to go away. */
  goAwayCode: number | null = null;
  connectionId: string = "";
  lives: number = 0;
  followed: Map<string, Followed> = new Map();
  awaited: Map<number, Awaited> = new Map();
  answersHeartbeats: boolean = true;
  peer: MemoryPeer | null = null;
  readonly #owner: SimClientOwner;
  #framing: "uint32" | "varint" = "uint32";
  #cutter: FrameCutter = new FrameCutter();
  #nextId: number = 1;

  constructor(name: string, owner: SimClientOwner) {
    this.name = name;
    this.#owner = owner;
  }

  /**
   * @param rudeness said instead of Hello; null: it is polite.
   * @returns false: the server accepts nobody now.
   */
  connect(
    transport: MemoryTransport,
    framing: "uint32" | "varint",
    rudeness: Uint8Array | null,
  ): boolean {
    this.#framing = framing;
    this.#cutter = new FrameCutter(framing);
    this.isHostile = false;
    this.goAwayCode = null;
    this.connectionId = "";
    this.followed = new Map();
    this.awaited = new Map();
    this.answersHeartbeats = true;
    this.#nextId = 2;
    try {
      this.peer = transport.connect({
        onData: (bytes) => this.#received(Buffer.from(bytes)),
        onClose: (code) => this.#closed(code),
      });
    } catch {
      return false;
    }
    this.lives++;
    this.state = "greeting";
    if (rudeness === null) this.send(hello(1, { name: this.name }));
    else this.junk(rudeness);
    return true;
  }

  /** Each body as a frame, all in one piece. */
  send(...bodies: readonly Uint8Array[]): void {
    const framed = this.#framing === "uint32" ? frame : varintFrame;
    this.peer?.send(Buffer.concat(bodies.map((body) => framed(body))));
  }

  /** Bytes as they are: nothing honest. */
  junk(bytes: Uint8Array): void {
    this.isHostile = true;
    this.peer?.send(bytes);
  }

  call(kind: "echo" | "sleep" | "fail" | "unknown", text: string): Buffer {
    return call(this.#await({ kind, text }), kind, text);
  }

  publish(topic: string, payload: string): Buffer {
    return publish(this.#await({ kind: "publish", text: topic }), topic, payload);
  }

  subscribe(topic: string): Buffer {
    return subscribe(this.#await({ kind: "subscribe", text: topic }), topic);
  }

  unsubscribe(topic: string): Buffer {
    return unsubscribe(this.#await({ kind: "unsubscribe", text: topic }), topic);
  }

  sayGoodbye(): void {
    this.send(goodbye());
  }

  #await(awaited: Awaited): number {
    const id = this.#nextId++;
    this.awaited.set(id, awaited);
    return id;
  }

  #received(bytes: Buffer): void {
    for (const body of this.#cutter.push(bytes)) {
      if (body.length > 0) this.#message(readServerMessage(body));
      else if (this.answersHeartbeats) this.send(Buffer.alloc(0));
    }
  }

  #closed(code: number): void {
    if (code >= 0 && this.#cutter.restBytes > 0)
      this.#violated("the server's stream ended in a frame");
    this.state = "down";
    this.peer = null;
    this.#owner.onDown(this, code);
  }

  #message(message: ServerMessageRead): void {
    if (message.id !== 0) {
      this.#answer(message);
      return;
    }
    switch (message.body) {
      case "event":
        this.#event(message.event.topic, message.event.offset, message.event.payload);
        return;
      case "gap":
        this.#gap(message.gap.topic, message.gap.missed);
        return;
      case "goAway":
        if (this.goAwayCode !== null) this.#violated("GoAway came twice");
        this.goAwayCode = message.goAway.code;
        return;
      default:
        this.#violated(`a push that is a ${message.body}`);
    }
  }

  #answer(message: ServerMessageRead): void {
    if (message.id === 1 && this.state === "greeting") {
      if (message.body !== "welcome") this.#violated(`Hello was answered by ${message.body}`);
      this.connectionId = message.welcome.connectionId;
      this.state = "active";
      return;
    }
    const awaited = this.awaited.get(message.id);
    if (awaited === undefined) this.#violated(`an answer to ${message.id}, which is not awaited`);
    this.awaited.delete(message.id);
    if (message.body === "failure") this.#failed(awaited, message.failure.code);
    else if (message.body === "result") this.#succeeded(awaited, message.payload);
    else this.#violated(`${awaited.kind} was answered by ${message.body}`);
  }

  #succeeded(awaited: Awaited, payload: Buffer): void {
    switch (awaited.kind) {
      case "echo":
      case "sleep":
        if (payload.toString() !== awaited.text)
          this.#violated(`the echo of ${awaited.text.length} bytes differs`);
        return;
      case "subscribe":
        if (!this.followed.has(awaited.text)) {
          this.followed.set(awaited.text, { last: null, hasGap: false, counted: 0 });
        }
        return;
      case "unsubscribe":
        this.followed.delete(awaited.text);
        return;
      case "publish":
        return;
      default:
        this.#violated(`${awaited.kind} cannot succeed`);
    }
  }

  #failed({ kind }: Awaited, code: number): void {
    const expected: Readonly<Record<Awaited["kind"], readonly number[]>> = {
      echo: [],
      sleep: [4],
      fail: [13],
      unknown: [12],
      publish: [8],
      subscribe: [8],
      unsubscribe: [],
    };
    // A stopping server says GoAway first, and takes no new calls.
    if (code === 14 && this.goAwayCode === 3000) return;
    if (!expected[kind].includes(code)) this.#violated(`${kind} failed with ${code}`);
  }

  #event(topic: string, offset: number, payload: Buffer): void {
    // A push on no subscription.
    if (offset === 0) return;
    const followed = this.followed.get(topic);
    if (followed === undefined)
      this.#violated(`an event of ${topic}, to which it is not subscribed`);
    if (followed.last !== null && offset !== followed.last + 1) {
      this.#violated(`offset ${offset} of ${topic} came after ${followed.last}`);
    }
    followed.last = offset;
    followed.hasGap = false;
    followed.counted++;
    const number = Number.parseInt(payload.toString(), 10);
    if (!payload.equals(Buffer.alloc(payload.length, `${number} `)))
      this.#violated("an event is corrupt");
    this.#owner.onEvent({ topic, number, offset });
  }

  #gap(topic: string, missed: number): void {
    const followed = this.followed.get(topic);
    if (followed === undefined) this.#violated(`a Gap of ${topic}, to which it is not subscribed`);
    if (followed.hasGap) this.#violated(`two Gaps of ${topic} and no event between`);
    if (missed < 1) this.#violated("a Gap of nothing");
    followed.hasGap = true;
    followed.counted += missed;
    if (followed.last !== null) followed.last += missed;
  }

  #violated(what: string): never {
    this.#owner.violated(`client ${this.name}: ${what}`);
  }
}

// Several servers over one hub, and clients that check what the wire contract promises each of
// them: all events of its subscription, in order, none twice, none from before or after it.

import { expect } from "vitest";
import { Prng } from "../../src/base/prng.ts";
import { BusStage } from "./bus-stage.ts";
import type { MemoryClient, MemoryServer } from "./memory-server.ts";
import { publish, subscribe, unsubscribe } from "./raw-message.ts";
import type { PairedSocket } from "./socket-pair.ts";

export const WORKERS = 3;
export const CLIENTS = 6;
export const TOPICS = ["t", "u"] as const;

/** What a client asks. */
export interface Ask {
  readonly kind: "subscribe" | "unsubscribe" | "publish";
  readonly client: number;
  readonly topic: string;
}

export type BusStep =
  | Ask
  | { readonly kind: "disconnect"; readonly client: number }
  /** The worker reads nothing of the bus until it is let go. */
  | { readonly kind: "hold" | "let go"; readonly worker: number }
  /** The worker's server publishes. */
  | {
      readonly kind: "burst";
      readonly worker: number;
      readonly topic: string;
      readonly count: number;
    }
  | { readonly kind: "pass"; readonly ms: number };

/** A topic as one client sees it. */
interface View {
  /** Between the answers to a Subscribe and an Unsubscribe. */
  isOpen: boolean;
  /** No Unsubscribe was sent since the last Subscribe. */
  isWanted: boolean;
  /** Of the last event in this subscription. */
  offset: number;
  /** Published since the answer was seen: all of them have to come, if it stays subscribed. */
  readonly owed: Set<string>;
  /**
   * Had come to somebody on its worker before the Subscribe was sent: none of them may come. (What
   * only another worker has had may still be on its way to this one.)
   */
  stale: ReadonlySet<string>;
}

/** One client, and what it must and must not see. */
class Reader {
  readonly client: MemoryClient;
  readonly views: Map<string, View> = new Map();
  readonly #asked: Map<number, { readonly kind: string; readonly topic: string }> = new Map();
  #id: number = 1;
  isGone: boolean = false;

  constructor(client: MemoryClient) {
    this.client = client;
    for (const name of TOPICS) {
      const view = { isOpen: false, isWanted: false, offset: 0, owed: new Set<string>() };
      this.views.set(name, { ...view, stale: new Set() });
    }
  }

  ask(kind: Ask["kind"], name: string, text: string): void {
    const id = ++this.#id;
    this.#asked.set(id, { kind, topic: name });
    if (kind === "publish") this.client.sendBody(publish(id, name, text));
    else this.client.sendBody(kind === "subscribe" ? subscribe(id, name) : unsubscribe(id, name));
  }

  /** Answers and events, in the order in which they came. */
  read(onEvent: (view: View, name: string, offset: number, text: string) => void): void {
    for (const message of this.client.messages.splice(0)) {
      if (message.body === "event") {
        const { topic: name, offset, payload } = message.event;
        onEvent(this.views.get(name)!, name, offset, payload.toString());
        continue;
      }
      expect(message.body).toBe("result");
      const { kind, topic: name } = this.#asked.get(message.id)!;
      this.#asked.delete(message.id);
      const view = this.views.get(name)!;
      if (kind === "subscribe" && !view.isOpen) Object.assign(view, { isOpen: true, offset: 0 });
      if (kind === "unsubscribe") view.isOpen = false;
    }
  }

  get unanswered(): number {
    return this.#asked.size;
  }
}

export class BusWorld {
  readonly stage: BusStage;
  readonly servers: (MemoryServer & { far: PairedSocket })[] = [];
  readonly readers: Reader[] = [];
  /** Payload -> offset, as whoever saw it first saw it. */
  readonly #offsets: Map<string, number> = new Map();
  /** What clients of each worker have had. */
  readonly #seen: Set<string>[] = Array.from({ length: WORKERS }, () => new Set<string>());
  #published: number = 0;

  constructor(seed: number) {
    const prng = new Prng(seed);
    const delayMs = (): number => (prng.float() < 0.5 ? 0 : prng.int(0, 5));
    const segmentBytes = (length: number): number => prng.int(1, Math.min(length, 400));
    this.stage = new BusStage({ pair: { delayMs, segmentBytes, windowBytes: prng.int(1, 5_000) } });
  }

  async start(): Promise<void> {
    for (let index = 0; index < WORKERS; index++) this.servers.push(await this.stage.server());
    for (let index = 0; index < CLIENTS; index++) {
      this.readers.push(new Reader(await this.servers[index % WORKERS]!.welcome()));
    }
  }

  async take(next: BusStep): Promise<void> {
    if ("ms" in next) await this.stage.clock.advance(next.ms);
    else if ("count" in next) this.#burst(this.servers[next.worker]!, next.topic, next.count);
    else if ("topic" in next) this.#ask(this.readers[next.client]!, next);
    else if ("client" in next) this.#disconnect(this.readers[next.client]!);
    else if (next.kind === "hold") this.servers[next.worker]!.far.hold();
    else this.servers[next.worker]!.far.letGo();
    // What was asked reaches its server; the bus may take longer.
    await this.stage.clock.settle();
    this.#readAll();
  }

  /** All is quiet, and a last event shows where everybody is. */
  async end(): Promise<void> {
    for (const server of this.servers) server.far.letGo();
    await this.stage.clock.advance(2_000);
    this.#readAll();
    for (const name of TOPICS) this.#burst(this.servers[0]!, name, 1);
    await this.stage.clock.advance(2_000);
    this.#readAll();
    for (const reader of this.readers.filter(({ isGone }) => !isGone)) {
      expect(reader.unanswered).toBe(0);
      for (const view of reader.views.values()) {
        expect(view.isOpen).toBe(view.isWanted);
        if (view.isOpen) expect([...view.owed]).toEqual([]);
      }
    }
    const wanted = TOPICS.filter((name) =>
      this.readers.some(({ isGone, views }) => !isGone && views.get(name)!.isOpen),
    );
    expect(this.stage.hub.topicCount).toBe(wanted.length);
    expect([this.stage.hub.counters.dropped, this.stage.faults]).toEqual([0, []]);
    await this.stage.stop();
  }

  #disconnect(reader: Reader): void {
    if (reader.isGone) return;
    reader.isGone = true;
    reader.client.peer.reset();
  }

  #ask(reader: Reader, next: Ask): void {
    if (reader.isGone) return;
    const view = reader.views.get(next.topic)!;
    const text = `p${++this.#published}`;
    if (next.kind === "subscribe" && !view.isWanted) {
      view.isWanted = true;
      view.stale = new Set(this.#seen[next.client % WORKERS]);
    } else if (next.kind === "unsubscribe") {
      view.isWanted = false;
      view.owed.clear();
    } else if (next.kind === "publish") {
      this.#owe(next.topic, text);
    }
    reader.ask(next.kind, next.topic, text);
  }

  #burst(server: MemoryServer, name: string, count: number): void {
    for (let index = 0; index < count; index++) {
      const text = `p${++this.#published}`;
      expect(server.server.publish(name, text)).toBe(true);
      this.#owe(name, text);
    }
  }

  #owe(name: string, text: string): void {
    for (const { views } of this.readers) {
      const view = views.get(name)!;
      if (view.isOpen && view.isWanted) view.owed.add(text);
    }
  }

  #readAll(): void {
    for (const [index, reader] of this.readers.entries()) {
      reader.read((view, name, offset, text) => {
        const key = `${name} ${text}`;
        expect(view.isOpen, `${key} outside of a subscription`).toBe(true);
        if (view.isWanted) expect(view.stale.has(key), `${key} is older`).toBe(false);
        if (view.offset > 0) expect(offset).toBe(view.offset + 1);
        view.offset = offset;
        view.owed.delete(text);
        this.#seen[index % WORKERS]!.add(key);
        const known = this.#offsets.get(key);
        if (known === undefined) this.#offsets.set(key, offset);
        else expect(offset, `${key} has one offset`).toBe(known);
      });
    }
  }
}

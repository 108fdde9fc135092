// A topic over four workers while workers come and go: every subscriber hears every event once, in
// the order in which they were published.
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { hasNative } from "../support/native.ts";
import { LoadClient, type LoadTarget, type LoadTransport } from "../support/load-client.ts";
import { type EventRead, publish, subscribe } from "../support/raw-message.ts";
import { signal, SupervisedServer } from "../support/supervised-server.ts";

const WORKERS = 4;
const SUBSCRIBERS = 1_000;
const TOPIC = "news";
const PUBLISH_EVERY_MS = 100;
/** Clients have all of the grace period to come over without a gap. */
const FLAGS = [
  "--drain-grace-ms=4000",
  "--drain-reconnect-spread-ms=1000",
  "--drain-close-spread-ms=1000",
];

/** What one link of a subscriber has heard. */
class Link {
  readonly client: LoadClient;
  /** Offset of its newest event; 0: none yet. */
  last: number = 0;

  constructor(client: LoadClient) {
    this.client = client;
  }
}

/** Changes its connection when it is told to go: the next one is there before the old one goes. */
class Subscriber {
  /** Payloads by offset. */
  readonly heard: Map<number, string> = new Map();
  readonly faults: string[] = [];
  moves: number = 0;
  readonly #target: LoadTarget;
  #link: Link | null = null;

  constructor(target: LoadTarget) {
    this.#target = target;
  }

  async begin(): Promise<void> {
    this.#link = await this.#open();
  }

  /** Looks whether it must move, until `isOver`. */
  async follow(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const link = this.#link!;
      if (link.client.hasEnded) {
        this.faults.push(`ended before it had moved: ${await link.client.ended}`);
        return;
      }
      if (link.client.goAway !== null) await this.#moveFrom(link, isOver);
      await delay(20);
    }
  }

  end(): void {
    this.#link?.client.destroy();
  }

  async #moveFrom(old: Link, isOver: () => boolean): Promise<void> {
    await delay(old.client.goAway!.reconnectAfterMs);
    const next = await this.#open();
    // The old one stays until it has heard all that comes before the new one's first event.
    const isWhole = (): boolean =>
      next.last > 0 && (old.last >= next.last || this.#hasAllUpTo(next.last));
    while (!isWhole() && !isOver() && !old.client.hasEnded) await delay(5);
    this.#link = next;
    this.moves++;
    await old.client.leave();
  }

  #hasAllUpTo(offset: number): boolean {
    for (let at = offset; at > 0; at--) if (!this.heard.has(at)) return false;
    return true;
  }

  async #open(): Promise<Link> {
    const link = new Link(await LoadClient.open(this.#target));
    link.client.onEvent = (event) => this.#hear(link, event);
    const answer = await link.client.ask((id) => subscribe(id, TOPIC));
    if (answer.body !== "result") throw new Error(`no subscription: ${JSON.stringify(answer)}`);
    return link;
  }

  #hear(link: Link, { offset, payload }: EventRead): void {
    const isNext = link.last === 0 || offset === link.last + 1;
    if (!isNext) this.faults.push(`${offset} after ${link.last} on one connection`);
    link.last = offset;
    const text = payload.toString();
    const known = this.heard.get(offset);
    if (known !== undefined && known !== text) {
      this.faults.push(`offset ${offset} is ${known} on one worker and ${text} on another`);
    }
    this.heard.set(offset, text);
  }
}

/** An id begins with a number whose upper half is the worker's. */
function workerOf({ welcome }: LoadClient): number {
  const serial = Number.parseInt(welcome!.connectionId.split("-")[0]!, 36);
  return Math.floor(serial / 2 ** 32);
}

/** Publishes one event after the other, each acknowledged, and changes its connection in time. */
class Publisher {
  published: number = 0;
  moves: number = 0;
  #client: LoadClient;
  readonly #target: LoadTarget;

  constructor(client: LoadClient, target: LoadTarget) {
    this.#client = client;
    this.#target = target;
  }

  get worker(): number {
    return workerOf(this.#client);
  }

  async next(): Promise<void> {
    if (this.#client.goAway !== null) {
      const old = this.#client;
      this.#client = await LoadClient.open(this.#target);
      this.moves++;
      await old.leave();
    }
    const text = `event ${this.published + 1}`;
    const answer = await this.#client.ask((id) => publish(id, TOPIC, text));
    if (answer.body !== "result") throw new Error(`not published: ${JSON.stringify(answer)}`);
    this.published++;
    await delay(PUBLISH_EVERY_MS);
  }

  end(): void {
    this.#client.destroy();
  }
}

interface Scene {
  readonly server: SupervisedServer;
  readonly publisher: Publisher;
  readonly subscribers: readonly Subscriber[];
}

async function scene(count: number): Promise<Scene> {
  const server = await SupervisedServer.start({ workers: WORKERS, flags: FLAGS }, onTestFinished);
  const transports: readonly LoadTransport[] = ["tcp", "websocket"];
  const subscribers = Array.from({ length: count }, (_, index) => {
    const transport = transports[index % 2]!;
    return new Subscriber({ transport, port: server.ports[transport] });
  });
  onTestFinished(() => subscribers.forEach((subscriber) => subscriber.end()));
  for (let at = 0; at < count; at += 50) {
    await Promise.all(subscribers.slice(at, at + 50).map((subscriber) => subscriber.begin()));
  }
  const target = { transport: "tcp", port: server.ports.tcp } as const;
  const publisher = new Publisher(await LoadClient.open(target), target);
  onTestFinished(() => publisher.end());
  const rows = await server.workers();
  expect(rows.every(({ connections }) => connections! > count / WORKERS / 2)).toBe(true);
  return { server, publisher, subscribers };
}

/** Publishes while it restarts, and some more; then everybody must have heard everything. */
async function allHear(
  { server, publisher, subscribers }: Scene,
  restarting: Promise<unknown>,
): Promise<void> {
  let isOver = false;
  const following = subscribers.map((subscriber) => subscriber.follow(() => isOver));
  let hasRestarted = false;
  const restarted = restarting.finally(() => (hasRestarted = true));
  while (!hasRestarted) await publisher.next();
  await restarted;
  for (let more = 0; more < 10; more++) await publisher.next();
  const { published } = publisher;
  const heardAll = (): boolean => subscribers.every(({ heard }) => heard.size >= published);
  await expect.poll(heardAll, { timeout: 10_000 }).toBe(true);
  isOver = true;
  await Promise.all(following);
  const expected = Array.from({ length: published }, (_, index) => [
    index + 1,
    `event ${index + 1}`,
  ]);
  for (const { heard, faults } of subscribers) {
    expect(faults).toEqual([]);
    expect([...heard].sort(([a], [b]) => a - b)).toEqual(expected);
  }
  expect(await server.metric("holdfast_bus_dropped_total")).toBe(0);
}

function movesOf({ subscribers }: Scene): number {
  return subscribers.reduce((sum, { moves }) => sum + moves, 0);
}

describe.skipIf(!hasNative)("every subscriber hears all events, in order, none twice", () => {
  test(`${SUBSCRIBERS} of them, while the publisher's neighbours are restarted`, async () => {
    const all = await scene(SUBSCRIBERS);
    const { server, publisher } = all;
    const rows = await server.workers();
    const neighbours = rows.filter(({ worker }) => worker !== publisher.worker);
    expect(neighbours).toHaveLength(WORKERS - 1);
    await allHear(all, restartAll(server, neighbours));
    expect(movesOf(all), "most had to move, some several times").toBeGreaterThan(SUBSCRIBERS / 2);
    expect(publisher.moves, "its worker stayed").toBe(0);
  }, 120_000);

  test("200 of them, while all workers are restarted, the publisher's too", async () => {
    const all = await scene(200);
    await allHear(all, all.server.reload());
    expect(movesOf(all)).toBeGreaterThanOrEqual(200);
    expect(all.publisher.moves).toBeGreaterThan(0);
  }, 60_000);
});

/** One after the other: each goes when its successor serves. */
async function restartAll(
  server: SupervisedServer,
  rows: readonly { readonly pid: number; readonly slot: number }[],
): Promise<void> {
  for (const { pid, slot } of rows) {
    signal(pid, "SIGTERM");
    await server.until(async () => {
      const all = (await server.stats()).workers;
      const isServed = all.some(
        (row) => row.slot === slot && row.pid !== pid && row.state === "serving",
      );
      return isServed && !all.some((row) => row.pid === pid);
    }, `slot ${slot} has a new worker, and the old one has gone`);
  }
}

// A running server is given other options. Every row that claims to be live has a proof here: what
// the server does with the new value, for a client that was there before.
import { afterEach, describe, expect, it } from "vitest";
import type { OptionRow } from "../../src/config/option-row.ts";
import { optionAt, OPTION_PATHS, OPTION_TABLE } from "../../src/config/option-table.ts";
import type { OptionPath, Options, PartialOptions } from "../../src/config/options.ts";
import { createLog } from "../../src/observe/log.ts";
import { Server } from "../../src/server/server.ts";
import { STATUS } from "../../src/wire/messages.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import { call, frame, hello, publish, subscribe, unsubscribe } from "../support/raw-message.ts";

let running: MemoryServer;

afterEach(async () => {
  // One test here starts none.
  await (running as MemoryServer | undefined)?.stop();
});

async function start(options: PartialOptions = {}): Promise<void> {
  running = await MemoryServer.start({
    options,
    memory: { windowBytes: 10_000 },
    prepare: (server) =>
      server
        .method("echo", ({ payload }) => payload)
        .method("never", () => new Promise<string>(() => {}))
        .method("timeout", ({ timeoutMs }) => String(timeoutMs)),
  });
}

/** The options that the server has now, with some of them changed. */
function changed(partial: PartialOptions): Options {
  const areas = Object.entries(running.server.options).map(([area, group]) => [
    area,
    { ...group, ...partial[area as keyof PartialOptions] },
  ]);
  return Object.fromEntries(areas) as Options;
}

function change(partial: PartialOptions): void {
  running.server.reconfigure(changed(partial));
}

/** What a client is answered. */
async function answer(client: MemoryClient, body: Uint8Array): Promise<unknown> {
  client.sendBody(body);
  await running.clock.settle();
  const last = client.messages.at(-1);
  if (last === undefined) return null;
  if (last.body === "failure") return last.failure.code;
  return last.body === "result" ? last.payload.toString() : last.body;
}

/** Publishes to a client that does not read, until something is done about it. */
async function flood(client: MemoryClient, bytes: number): Promise<void> {
  client.peer.setReading(false);
  for (let sent = 0; sent < bytes; sent += 1_000) running.server.publish("t", "x".repeat(1_000));
  await running.clock.settle();
}

/** What holds before, the change, and what holds after it. */
const PROOFS: { readonly [P in OptionPath]?: () => Promise<void> } = {
  "connection.max": async () => {
    await start({ connection: { max: 2 } });
    const [first] = [await running.welcome(), await running.welcome()];
    const third = running.connect();
    await running.clock.settle();
    expect(third.closedWith).toBe(3_004);
    change({ connection: { max: 3 } });
    await running.welcome();
    change({ connection: { max: 1 } });
    const fifth = running.connect();
    await running.clock.settle();
    expect([fifth.closedWith, first.closedWith]).toEqual([3_004, null]);
    expect(running.server.admission.served).toBe(3);
  },
  "connection.acceptTimeoutMs": async () => {
    await start();
    change({ connection: { acceptTimeoutMs: 100 } });
    // No transport here takes time to be ready: what it would be judged by has changed.
    expect(running.server.listeners[0]!.context.limits.acceptTicks).toBe(2);
  },
  "connection.handshakeTimeoutMs": async () => {
    await start({ connection: { handshakeTimeoutMs: 1_000 } });
    const client = running.connect();
    change({ connection: { handshakeTimeoutMs: 5_000 } });
    await running.clock.advance(4_900);
    expect(client.closedWith).toBeNull();
    await running.clock.advance(200);
    expect(client.closedWith).toBe(3_002);
  },
  "connection.heartbeatJitter": async () => {
    const connection = { heartbeatMs: 10_000, heartbeatJitter: 0.5, idleTimeoutMs: 30_000 };
    await start({ connection });
    change({ connection: { heartbeatJitter: 0 } });
    const clients = await Promise.all(Array.from({ length: 10 }, () => running.welcome()));
    await running.clock.advance(9_900);
    expect(clients.map(({ heartbeats }) => heartbeats)).toEqual(clients.map(() => 0));
    await running.clock.advance(200);
    expect(clients.map(({ heartbeats }) => heartbeats)).toEqual(clients.map(() => 1));
  },
  "connection.idleTimeoutMs": async () => {
    const connection = { heartbeatMs: 1_000, heartbeatJitter: 0, idleTimeoutMs: 1_500 };
    await start({ connection });
    const client = await running.welcome();
    change({ connection: { idleTimeoutMs: 3_000 } });
    await running.clock.advance(2_900);
    expect(client.closedWith).toBeNull();
    await running.clock.advance(200);
    expect(client.closedWith).toBe(3_001);
  },
  "connection.frameTimeoutMs": async () => {
    await start({ connection: { frameTimeoutMs: 1_000 } });
    const client = await running.welcome();
    client.send(Buffer.from([0, 0]));
    await running.clock.settle();
    change({ connection: { frameTimeoutMs: 2_000 } });
    await running.clock.advance(1_900);
    expect(client.closedWith).toBeNull();
    await running.clock.advance(200);
    expect(client.closedWith).toBe(3_500);
  },
  "connection.closeTimeoutMs": async () => {
    await start({ connection: { closeTimeoutMs: 1_000 } });
    const client = await running.welcome();
    const connection = running.connectionOf(client);
    client.peer.setReading(false);
    connection.send("t", "x".repeat(100_000));
    change({ connection: { closeTimeoutMs: 3_000 } });
    connection.disconnect();
    await running.clock.advance(2_900);
    expect(client.closedWith).toBeNull();
    await running.clock.advance(200);
    expect(client.closedWith).toBe(-1);
  },
  "connection.callsMax": async () => {
    await start({ connection: { callsMax: 4 } });
    const client = await running.welcome();
    change({ connection: { callsMax: 1 } });
    client.sendBody(call(2, "never"));
    expect(await answer(client, call(3, "echo", "late"))).toBeNull();
    expect(running.connectionOf(client).calls).toBe(1);
  },
  "send.highBytes": async () => {
    await start({ send: { highBytes: 200_000, lowBytes: 500 } });
    const client = await running.welcome();
    change({ send: { highBytes: 1_000 } });
    client.peer.setReading(false);
    const connection = running.connectionOf(client);
    connection.send("t", "x".repeat(20_000));
    await running.clock.settle();
    expect(connection.send("t", "x".repeat(2_000))).toBe("full");
  },
  "send.lowBytes": async () => {
    let drains = 0;
    running = await MemoryServer.start({
      options: { send: { highBytes: 300_000, lowBytes: 0 } },
      memory: { windowBytes: 10_000, delayMs: () => 10 },
      hooks: { onDrain: (connection) => void (drains = connection.backlogBytes) },
    });
    const client = running.connect();
    client.sendBody(hello(1));
    await running.clock.advance(100);
    const connection = running.connectionOf(client);
    client.peer.setReading(false);
    while (connection.send("t", "x".repeat(10_000)) !== "full") await running.clock.settle();
    change({ send: { lowBytes: 290_000 } });
    client.peer.setReading(true);
    await running.clock.advance(1_000);
    expect(drains).toBeGreaterThan(0);
  },
  "send.stallTimeoutMs": async () => {
    await start({ send: { stallTimeoutMs: 1_000 } });
    const client = await running.welcome();
    client.sendBody(subscribe(0, "t"));
    await running.clock.settle();
    await flood(client, 50_000);
    const connection = running.connectionOf(client);
    change({ send: { stallTimeoutMs: 3_000 } });
    await running.clock.advance(2_800);
    expect(connection.isOpen).toBe(true);
    await running.clock.advance(300);
    expect(connection.isOpen).toBe(false);
    expect(running.server.closedByCause.stalled + connection.ending!.code).toBe(3_003);
  },
  "send.policy": async () => {
    const send = { highBytes: 20_000, lowBytes: 0, queueBytesMax: 70_000, policy: "disconnect" };
    await start({ send: { ...send, policy: "disconnect" } });
    const client = await running.welcome();
    client.sendBody(subscribe(0, "t"));
    await running.clock.settle();
    change({ send: { policy: "drop-oldest" } });
    const connection = running.connectionOf(client);
    await flood(client, 200_000);
    expect(connection.isOpen).toBe(true);
    expect(running.server.shared.counters.eventsDropped).toBeGreaterThan(100);
    change({ send: { policy: "disconnect" } });
    await flood(client, 20_000);
    expect(connection.isOpen).toBe(false);
  },
  "send.budgetBytes": async () => {
    await start({ send: { budgetBytes: 10_000_000 } });
    const [greedy, modest] = [await running.welcome(), await running.welcome()];
    for (const client of [greedy, modest]) client.peer.setReading(false);
    const connection = running.connectionOf(greedy);
    while (connection.send("t", "x".repeat(10_000)) !== "closed" && connection.backlogBytes < 9e5);
    change({ send: { budgetBytes: 1_048_576 } });
    expect(connection.isOpen).toBe(true);
    const other = running.connectionOf(modest);
    for (let count = 0; count < 30; count++) other.send("t", "x".repeat(10_000));
    await running.clock.settle();
    expect([greedy.closedWith, modest.closedWith]).toEqual([-1, null]);
  },
  "topic.perConnectionMax": async () => {
    await start();
    const client = await running.welcome();
    expect(await answer(client, subscribe(2, "a"))).toBe("");
    change({ topic: { perConnectionMax: 1 } });
    expect(await answer(client, subscribe(3, "b"))).toBe(STATUS.RESOURCE_EXHAUSTED);
    change({ topic: { perConnectionMax: 2 } });
    expect(await answer(client, subscribe(4, "b"))).toBe("");
    expect(running.server.topics.subscriptionCount).toBe(2);
  },
  "topic.nameBytesMax": async () => {
    await start();
    const client = await running.welcome();
    change({ topic: { nameBytesMax: 3 } });
    expect(await answer(client, subscribe(2, "four"))).toBe(STATUS.INVALID_ARGUMENT);
    expect(client.messages.at(-1)).toMatchObject({
      failure: { reason: "a topic's name has 1 to 3 bytes" },
    });
    expect(() => running.server.publish("four", "x")).toThrow("1 to 3 bytes");
  },
  "topic.max": async () => {
    await start();
    const client = await running.welcome();
    expect(await answer(client, subscribe(2, "a"))).toBe("");
    change({ topic: { max: 1 } });
    expect(await answer(client, subscribe(3, "b"))).toBe(STATUS.RESOURCE_EXHAUSTED);
    expect(await answer(client, unsubscribe(4, "a"))).toBe("");
    expect(await answer(client, subscribe(5, "b"))).toBe("");
  },
  "topic.backlogEventsMax": async () => {
    await start();
    const clients = Array.from({ length: 1_100 }, () => running.connect());
    for (const client of clients) {
      client.send(Buffer.concat([frame(hello(1)), frame(subscribe(0, "t"))]));
    }
    await running.clock.settle();
    change({ topic: { backlogEventsMax: 1 } });
    expect([running.server.publish("t", "1"), running.server.publish("t", "2")]).toEqual([
      true,
      false,
    ]);
    await running.clock.settle();
  },
  "topic.publishFromClients": async () => {
    await start();
    const client = await running.welcome();
    expect(await answer(client, publish(2, "t", "x"))).toBe("");
    change({ topic: { publishFromClients: false } });
    expect(await answer(client, publish(3, "t", "x"))).toBe(STATUS.PERMISSION_DENIED);
  },
  "call.timeoutMs": async () => {
    await start();
    const client = await running.welcome();
    change({ call: { timeoutMs: 1_234 } });
    expect(await answer(client, call(2, "timeout"))).toBe("1234");
  },
  "call.timeoutMsMax": async () => {
    await start();
    const client = await running.welcome();
    change({ call: { timeoutMs: 50, timeoutMsMax: 60 } });
    const body = call(2, "timeout", "", 10_000);
    expect(await answer(client, body)).toBe("60");
  },
  "label.max": async () => {
    await start();
    change({ label: { max: 1 } });
    const client = running.connect();
    client.sendBody(hello(1, { a: "1", b: "2" }));
    await running.clock.settle();
    expect(client.messages[0]).toMatchObject({ failure: { reason: "more than 1 labels" } });
  },
  "label.bytesMax": async () => {
    await start();
    change({ label: { bytesMax: 3 } });
    const client = running.connect();
    client.sendBody(hello(1, { key: "value" }));
    await running.clock.settle();
    expect(client.messages[0]).toMatchObject({
      failure: { reason: "a label is longer than 3 bytes" },
    });
  },
  "drain.graceMs": () => drains({ graceMs: 1_000, closeSpreadMs: 0 }, 1_000),
  "drain.closeSpreadMs": () => drains({ graceMs: 0, closeSpreadMs: 2_000 }, 1_000),
  "drain.reconnectSpreadMs": async () => {
    await start();
    const client = await running.welcome();
    change({ drain: { reconnectSpreadMs: 0 } });
    void running.server.stop();
    await running.clock.settle();
    expect(client.messages.at(-1)).toMatchObject({ goAway: { code: 3_000, reconnectAfterMs: 1 } });
  },
  "overload.retryAfterMs": async () => {
    await start({ connection: { max: 1 } });
    await running.welcome();
    change({ overload: { retryAfterMs: 100_000 } });
    const refused = running.connect();
    await running.clock.settle();
    const [goAway] = refused.messages;
    expect(goAway?.body === "goAway" && goAway.goAway.reconnectAfterMs >= 100_000).toBe(true);
  },
  "log.level": () => logs({ level: "error", samplePerSecond: 10 }, 0),
  "log.samplePerSecond": () => logs({ level: "info", samplePerSecond: 2 }, 2),
  "debug.closedRing": async () => {
    await start({ debug: { closedRing: 10 } });
    for (let count = 0; count < 5; count++) (await running.welcome()).peer.end();
    await running.clock.settle();
    const before = running.server.closedRing.list();
    change({ debug: { closedRing: 2 } });
    expect(running.server.closedRing.list()).toEqual(before.slice(0, 2));
    (await running.welcome()).peer.end();
    await running.clock.settle();
    const after = running.server.closedRing.list();
    expect([after.length, after[1]]).toEqual([2, before[0]]);
    change({ debug: { closedRing: 0 } });
    expect(running.server.closedRing.list()).toEqual([]);
    change({ debug: { closedRing: 3 } });
    (await running.welcome()).peer.end();
    await running.clock.settle();
    expect(running.server.closedRing.list().length).toBe(1);
  },
};

/** Read by the supervisor when it needs them, or proved on real sockets. */
const PROVED_ELSEWHERE: readonly OptionPath[] = [
  "websocket.origins",
  "workers.readyTimeoutMs",
  "workers.unresponsiveMs",
];

async function drains(drain: PartialOptions["drain"], endsAfterMs: number): Promise<void> {
  await start();
  const clients = [await running.welcome(), await running.welcome()];
  change({ drain });
  void running.server.stop();
  await running.clock.advance(endsAfterMs - 50);
  expect(clients[1]!.closedWith).toBeNull();
  await running.clock.advance(150);
  expect(clients[1]!.closedWith).toBe(3_000);
}

/** How many of many events of one kind are written after the change. */
async function logs(
  log: { readonly level: "info" | "error"; readonly samplePerSecond: number },
  written: number,
): Promise<void> {
  await start();
  const lines: string[] = [];
  const clock = new ManualClock();
  const options = { level: "info", pretty: false, samplePerSecond: 10, node: "n" } as const;
  const own = createLog(options, clock, { write: (line) => lines.push(line) });
  const off = { enabled: false } as const;
  const server = new Server({ tcp: off, websocket: off, admin: off }, { log: own, clock });
  own.event("hook_failed", "warn", () => ({}));
  expect(lines.length).toBe(1);
  server.reconfigure({ ...server.options, log: { ...server.options.log, ...log } });
  await clock.advance(1_000);
  for (let count = 0; count < 20; count++) own.event("hook_failed", "warn", () => ({}));
  expect(lines.length - 1).toBe(written);
}

const rows: Readonly<Record<OptionPath, OptionRow>> = OPTION_TABLE;
const LIVE = OPTION_PATHS.filter((path) => rows[path].reload === "live");

describe("live options", () => {
  it("are those that are proved, and no others", () => {
    const proved = [...Object.keys(PROOFS), ...PROVED_ELSEWHERE].toSorted();
    expect(proved).toEqual(LIVE.toSorted());
  });

  it.each(Object.entries(PROOFS))("%s counts at once", async (_path, prove) => {
    await expect(prove()).resolves.toBeUndefined();
  });
});

const REFUSED = OPTION_PATHS.filter((path) => rows[path].reload !== "live");

function otherValue(row: OptionRow, value: unknown): unknown {
  if (row.type === "boolean") return value !== true;
  if (row.type === "choice") return row.choices.find((choice) => choice !== row.default);
  if (row.type === "integer") return row.default === 7 ? 8 : Math.max(7, row.min + 1);
  return "other";
}

describe("reconfiguring", () => {
  it.each(REFUSED)("refuses another %s, and changes nothing", async (path) => {
    await start();
    const { options } = running.server;
    const [area = "", name = ""] = path.split(".");
    // Another valid value; where it breaks a relation that is refused as well.
    const wanted = changed({
      [area]: { [name]: otherValue(rows[path], optionAt(options, path)) },
      label: { max: 1 },
    });
    expect(() => running.server.reconfigure(wanted)).toThrow(
      expect.objectContaining({ code: "HOLDFAST_OPTIONS_INVALID" }) as Error,
    );
    expect(running.server.options).toBe(options);
    await running.welcome({ a: "1", b: "2" });
  });

  it.each([
    ["a value out of range", { label: { max: -1 } }],
    ["a value of another type", { label: { max: "5" as unknown as number } }],
    ["values that do not go together", { send: { lowBytes: 9_000, highBytes: 8_000 } }],
    ["an option that does not exist", { label: { most: 5 } as unknown as { max: number } }],
  ])("refuses %s, and changes nothing", async (_name, partial: PartialOptions) => {
    await start();
    const { options } = running.server;
    expect(() => change({ topic: { max: 7 }, ...partial })).toThrow(
      expect.objectContaining({ code: "HOLDFAST_OPTIONS_INVALID" }) as Error,
    );
    expect(running.server.options).toBe(options);
    expect(running.server.topics.limits.topicsMax).toBe(options.topic.max);
  });

  it("takes options that came as JSON, freezes them and hands them out", async () => {
    await start();
    const wanted = changed({ label: { max: 3 } });
    running.server.reconfigure(JSON.parse(JSON.stringify(wanted)) as Options);
    expect(running.server.options).toEqual(wanted);
    expect(Object.isFrozen(running.server.options.label)).toBe(true);
  });

  it("keeps a listener's own policy for slow readers, and a topic's", async () => {
    running = await MemoryServer.start({
      memory: { windowBytes: 10_000 },
      listener: { policy: "drop-newest" },
      prepare: (server) => server.topicPolicy("own", "conflate"),
    });
    const client = await running.welcome();
    for (const topic of ["t", "own"]) client.sendBody(subscribe(0, topic));
    await running.clock.settle();
    change({ send: { policy: "drop-oldest" } });
    const { subscriptions, context } = running.connectionOf(client);
    expect(context.limits.policy).toBe("drop-newest");
    expect([...subscriptions!.values()].map(({ policy }) => policy)).toEqual([
      "drop-newest",
      "conflate",
    ]);
  });

  it("in the middle of a stop changes nothing of how that goes on", async () => {
    await start({ drain: { graceMs: 1_000, closeSpreadMs: 0 } });
    const client = await running.welcome();
    void running.server.stop();
    change({ drain: { graceMs: 100_000 } });
    await running.clock.advance(1_100);
    expect(client.closedWith).toBe(3_000);
  });
});

describe("a share of connection.max", () => {
  it("counts instead of it, also when that changes, and may be nothing", async () => {
    await start({ connection: { max: 10 } });
    running.server.setConnectionsMax(1);
    const first = await running.welcome();
    change({ connection: { max: 20 } });
    const second = running.connect();
    await running.clock.settle();
    expect([first.closedWith, second.closedWith]).toEqual([null, 3_004]);
    running.server.setConnectionsMax(0);
    first.peer.end();
    await running.clock.settle();
    const third = running.connect();
    await running.clock.settle();
    expect(third.closedWith).toBe(3_004);
    running.server.setConnectionsMax(5);
    await running.welcome();
  });

  it.each([-1, Number.NaN])("is not %d", async (share) => {
    await start();
    expect(() => running.server.setConnectionsMax(share)).toThrow("nobody or somebody");
  });

  it("is never more than the files allow", async () => {
    await start();
    running.server.setConnectionsMax(1e9);
    const { connectionsMax, filesMax } = running.server.admission;
    expect(connectionsMax).toBe(Math.min(1e9, filesMax));
  });
});

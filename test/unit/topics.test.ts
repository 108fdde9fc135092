import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SLICE } from "../../src/server/slices.ts";
import { STATUS } from "../../src/wire/messages.ts";
import {
  type MemoryClient,
  MemoryServer,
  type MemoryServerParts,
} from "../support/memory-server.ts";
import { call, hello, publish, subscribe, unsubscribe } from "../support/raw-message.ts";

let running: MemoryServer;

const OPTIONS = {
  topic: { perConnectionMax: 3, max: 5, nameBytesMax: 255, backlogEventsMax: 4 },
} as const;

async function start(parts: MemoryServerParts = {}): Promise<void> {
  running = await MemoryServer.start({ options: OPTIONS, ...parts });
}

beforeEach(() => start());

afterEach(async () => {
  await running.stop();
});

/** The outcome of one message: "result", or the status of its Failure. */
async function outcome(client: MemoryClient, body: Buffer): Promise<"result" | number> {
  client.sendBody(body);
  await running.clock.settle();
  const at = client.messages.findIndex((message) => message.id === 9);
  expect(at).not.toBe(-1);
  const [message] = client.messages.splice(at, 1);
  return message!.body === "failure" ? message!.failure.code : (message!.body as "result");
}

async function subscriber(topic: string): Promise<MemoryClient> {
  const client = await running.welcome();
  expect(await outcome(client, subscribe(9, topic))).toBe("result");
  return client;
}

/** What a client was sent of a topic: "offset:payload", and "gap missed". */
function events(client: MemoryClient, topic: string = "t"): string[] {
  return client.messages.flatMap((message) => {
    if (message.body === "gap" && message.gap.topic === topic) return [`gap ${message.gap.missed}`];
    if (message.body !== "event" || message.event.topic !== topic) return [];
    expect(message.id).toBe(0);
    return [`${message.event.offset}:${message.event.payload.toString()}`];
  });
}

async function settled(client: MemoryClient, topic: string = "t"): Promise<string[]> {
  await running.clock.settle();
  return events(client, topic);
}

describe("an event", () => {
  it("goes to all subscribers of its topic, its publisher included, and nobody else", async () => {
    const [a, b] = [await subscriber("t"), await subscriber("t")];
    const [other, none] = [await subscriber("u"), await running.welcome()];
    expect(await outcome(a, publish(9, "t", "x"))).toBe("result");
    for (const client of [a, b]) expect(await settled(client)).toEqual(["1:x"]);
    expect([other.messages, none.messages]).toEqual([[], []]);
  });

  it("comes to its publisher before the answer to its publish", async () => {
    const client = await subscriber("t");
    client.sendBody(publish(9, "t", "x"));
    await running.clock.settle();
    expect(client.messages.map(({ body }) => body)).toEqual(["event", "result"]);
  });

  it("comes in publish order with offsets that rise by one, whoever published", async () => {
    const clients = [await subscriber("t"), await subscriber("t"), await running.welcome()];
    for (let index = 0; index < 30; index++) {
      clients[index % 3]!.sendBody(publish(0, "t", String(index)));
      if (index % 7 === 0) running.server.publish("t", "server");
      await running.clock.settle();
    }
    const [first, second] = [events(clients[0]!), events(clients[1]!)];
    expect(first).toEqual(second);
    expect(first.map((event) => Number(event.split(":")[0]))).toEqual(first.map((_, at) => at + 1));
    expect(first.filter((event) => !event.endsWith("server")).length).toBe(30);
  });

  it("that nobody subscribes to is taken and forgotten", async () => {
    const client = await running.welcome();
    expect(await outcome(client, publish(9, "t", "x"))).toBe("result");
    expect(running.server.publish("t", "y")).toBe(true);
    expect(running.server.topics.count).toBe(0);
    const late = await subscriber("t");
    running.server.publish("t", "z");
    expect(await settled(late)).toEqual(["1:z"]);
  });

  it("is not for whoever subscribes after it, who sees the offsets go on", async () => {
    const first = await subscriber("t");
    running.server.publish("t", "a");
    const second = await subscriber("t");
    running.server.publish("t", "b");
    expect(await settled(first)).toEqual(["1:a", "2:b"]);
    expect(await settled(second)).toEqual(["2:b"]);
  });

  it("is not for whoever has unsubscribed", async () => {
    const [stays, leaves] = [await subscriber("t"), await subscriber("t")];
    expect(await outcome(leaves, unsubscribe(9, "t"))).toBe("result");
    running.server.publish("t", "x");
    expect(await settled(stays)).toEqual(["1:x"]);
    expect(await settled(leaves)).toEqual([]);
  });

  it("may be empty, and may be as large as a frame", async () => {
    const client = await subscriber("t");
    running.server.publish("t", "");
    running.server.publish("t", "x".repeat(60_000));
    expect(await settled(client)).toEqual(["1:", `2:${"x".repeat(60_000)}`]);
  });

  it("is encoded once however many subscribe, and its memory is given back", async () => {
    for (let count = 0; count < 5; count++) await subscriber("t");
    const { pool } = running.server.shared;
    let most = 0;
    const lease = pool.lease.bind(pool);
    pool.lease = (bytesMin) => {
      const slab = lease(bytesMin);
      most = Math.max(most, pool.leased);
      return slab;
    };
    running.server.publish("t", "x".repeat(5_000));
    await running.clock.settle();
    expect(most).toBe(1);
    expect(pool.leased).toBe(0);
  });
});

describe("subscribing", () => {
  it("twice is the same as once, and one Unsubscribe ends it", async () => {
    const client = await subscriber("t");
    expect(await outcome(client, subscribe(9, "t"))).toBe("result");
    running.server.publish("t", "x");
    expect(await settled(client)).toEqual(["1:x"]);
    await outcome(client, unsubscribe(9, "t"));
    running.server.publish("t", "y");
    expect(await settled(client)).toEqual(["1:x"]);
    expect(running.server.topics.subscriptionCount).toBe(0);
  });

  it("to a topic that nobody subscribed to for a while begins its offsets anew", async () => {
    const first = await subscriber("t");
    running.server.publish("t", "a");
    await outcome(first, unsubscribe(9, "t"));
    expect(running.server.topics.count).toBe(0);
    const second = await subscriber("t");
    running.server.publish("t", "b");
    expect(await settled(second)).toEqual(["1:b"]);
  });

  it("is forgotten with its connection", async () => {
    const client = await subscriber("t");
    await outcome(client, subscribe(9, "u"));
    expect([running.server.topics.count, running.server.topics.subscriptionCount]).toEqual([2, 2]);
    client.peer.reset();
    expect([running.server.topics.count, running.server.topics.subscriptionCount]).toEqual([0, 0]);
    expect(running.server.publish("t", "x")).toBe(true);
  });

  it("without an id is done and not answered", async () => {
    const client = await running.welcome();
    client.sendBody(subscribe(0, "t"));
    client.sendBody(subscribe(0, ""));
    client.sendBody(unsubscribe(0, "nothing"));
    await running.clock.settle();
    running.server.publish("t", "x");
    expect(await settled(client)).toEqual(["1:x"]);
    expect(client.messages.length).toBe(1);
  });

  it("ends without having begun: Unsubscribe is answered all the same", async () => {
    const client = await running.welcome();
    expect(await outcome(client, unsubscribe(9, "t"))).toBe("result");
    expect(await outcome(client, unsubscribe(9, ""))).toBe("result");
  });

  it("beyond the limit of a connection fails, and works again after an Unsubscribe", async () => {
    const client = await running.welcome();
    for (const topic of ["a", "b", "c"]) {
      expect(await outcome(client, subscribe(9, topic))).toBe("result");
    }
    expect(await outcome(client, subscribe(9, "d"))).toBe(STATUS.RESOURCE_EXHAUSTED);
    expect(await outcome(client, subscribe(9, "a"))).toBe("result");
    await outcome(client, unsubscribe(9, "b"));
    expect(await outcome(client, subscribe(9, "d"))).toBe("result");
    expect(running.server.topics.subscribersOf("b")).toBe(0);
  });

  it("beyond the limit of the node fails for new topics, not for those that exist", async () => {
    const clients = [await running.welcome(), await running.welcome()];
    for (const topic of ["a", "b", "c"]) await outcome(clients[0]!, subscribe(9, topic));
    for (const topic of ["d", "e"]) await outcome(clients[1]!, subscribe(9, topic));
    expect(await outcome(clients[1]!, subscribe(9, "f"))).toBe(STATUS.RESOURCE_EXHAUSTED);
    expect(await outcome(clients[1]!, subscribe(9, "a"))).toBe("result");
    expect(running.server.topics.count).toBe(5);
  });
});

describe("a topic's name", () => {
  const good = [
    "x",
    "x".repeat(255),
    "ü".repeat(127),
    "日".repeat(85),
    "a/b.c d",
    "\0",
    "__proto__",
  ];
  const bad = ["", "x".repeat(256), "ü".repeat(128), "日".repeat(86), "😀".repeat(64)];

  it.each(good)("may be %j", async (name) => {
    const client = await subscriber(name);
    expect(await outcome(client, publish(9, name, "x"))).toBe("result");
    expect(await settled(client, name)).toEqual(["1:x"]);
  });

  it.each(bad)("may not be %j: neither to subscribe nor to publish", async (name) => {
    const client = await running.welcome();
    expect(await outcome(client, subscribe(9, name))).toBe(STATUS.INVALID_ARGUMENT);
    expect(await outcome(client, publish(9, name, "x"))).toBe(STATUS.INVALID_ARGUMENT);
    expect(running.server.topics.count).toBe(0);
    expect(() => running.server.publish(name, "x")).toThrow(
      expect.objectContaining({ code: "HOLDFAST_TOPIC_INVALID" }) as Error,
    );
  });
});

describe("publishing by clients", () => {
  it("is refused where the options say so, and the application still may", async () => {
    await running.stop();
    await start({ options: { topic: { publishFromClients: false } } });
    const client = await subscriber("t");
    expect(await outcome(client, publish(9, "t", "x"))).toBe(STATUS.PERMISSION_DENIED);
    running.server.publish("t", "y");
    expect(await settled(client)).toEqual(["1:y"]);
  });
});

describe("a topic with more subscribers than one turn serves", () => {
  const COUNT = SLICE + 200;
  let clients: MemoryClient[];

  beforeEach(async () => {
    clients = Array.from({ length: COUNT }, () => running.connect());
    for (const client of clients) {
      client.sendBody(hello(1));
      client.sendBody(subscribe(0, "t"));
    }
    await running.clock.settle();
    for (const client of clients) client.messages.length = 0;
  });

  it("serves a publish in slices, and everybody gets it in the end", async () => {
    const { topics } = running.server;
    expect(topics.subscribersOf("t")).toBe(COUNT);
    running.server.publish("t", "a");
    expect([topics.delivered, topics.backlogCount]).toEqual([0, 1]);
    await running.clock.settle();
    expect([topics.delivered, topics.backlogCount]).toEqual([COUNT, 0]);
    for (const client of clients) expect(events(client)).toEqual(["1:a"]);
    expect(running.server.shared.pool.leased).toBe(0);
  });

  it("keeps the order of events that are published meanwhile", async () => {
    for (const text of ["a", "b", "c"]) running.server.publish("t", text);
    await running.clock.settle();
    for (const client of clients) expect(events(client)).toEqual(["1:a", "2:b", "3:c"]);
  });

  it("takes no more events than its backlog holds, and says so", async () => {
    const accepted = ["a", "b", "c", "d", "e"].map((text) => running.server.publish("t", text));
    expect(accepted).toEqual([true, true, true, true, false]);
    const client = clients[0]!;
    client.sendBody(publish(9, "t", "f"));
    await running.clock.settle();
    // The backlog shrank before the client's bytes came.
    expect(events(client).slice(0, 4)).toEqual(["1:a", "2:b", "3:c", "4:d"]);
    expect(running.server.topics.published).toBe(events(client).length);
  });

  it("gives an event neither to who joins after it nor to who leaves before", async () => {
    running.server.publish("t", "a");
    const late = running.connect();
    late.sendBody(hello(1));
    late.sendBody(subscribe(0, "t"));
    for (const client of clients.slice(-50)) client.peer.reset();
    await running.clock.settle();
    running.server.publish("t", "b");
    expect((await settled(late)).filter((event) => event.endsWith("a"))).toEqual([]);
    expect(await settled(clients[0]!)).toEqual(["1:a", "2:b"]);
  });

  it("forgets an event that nobody is left to get", async () => {
    running.server.publish("t", "a");
    for (const client of clients) client.peer.reset();
    expect(running.server.topics.subscriptionCount).toBe(0);
    await running.clock.settle();
    expect([running.server.topics.count, running.server.topics.backlogCount]).toEqual([0, 0]);
    expect(running.server.shared.pool.leased).toBe(0);
  });

  it("does not hold up another topic", async () => {
    const other = await subscriber("u");
    running.server.publish("t", "a");
    running.server.publish("u", "quick");
    expect(running.server.topics.delivered).toBe(1);
    expect(await settled(other, "u")).toEqual(["1:quick"]);
  });
});

describe("a publish from inside a fan-out of the same topic", () => {
  it("waits its turn: nobody sees the second event before the first", async () => {
    await running.stop();
    await start({
      options: { send: { queueBytesMax: 65_536, highBytes: 2_000, lowBytes: 1_000 } },
      memory: { windowBytes: 1_000 },
      prepare: (server) =>
        server.method("wait", ({ signal }) => {
          signal.addEventListener("abort", () => void server.publish("t", "inside"));
          return new Promise(() => {});
        }),
    });
    const [first, slow, last] = [
      await subscriber("t"),
      await subscriber("t"),
      await subscriber("t"),
    ];
    slow.sendBody(call(5, "wait"));
    await running.clock.settle();
    slow.peer.setReading(false);
    for (let count = 0; count < 3; count++) {
      running.server.publish("t", "x".repeat(30_000));
      await running.clock.settle();
    }
    const seen = events(first).map((event) => event.slice(0, 8));
    expect(seen).toEqual(["1:xxxxxx", "2:xxxxxx", "3:xxxxxx", "4:inside"]);
    expect(events(last).map((event) => event.slice(0, 8))).toEqual(seen);
    expect(running.server.closedByCause.queue_full).toBe(0);
    slow.peer.reset();
    expect(running.server.closedByCause.queue_full).toBe(1);
  });
});

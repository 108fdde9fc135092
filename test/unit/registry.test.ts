import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import { goodbye } from "../support/raw-message.ts";

let running: MemoryServer;

beforeEach(async () => {
  running = await MemoryServer.start();
});

afterEach(async () => {
  await running.stop();
});

function ids(connections: Iterable<{ readonly id: string }>): string[] {
  return [...connections].map(({ id }) => id).sort();
}

function idOf(client: MemoryClient): string {
  return running.connectionOf(client).id;
}

/** Topics of the pushes that a client got. */
function pushes(client: MemoryClient): string[] {
  return client.messages.flatMap((message) =>
    message.body === "event" ? [message.event.topic] : [],
  );
}

describe("the registry", () => {
  it("finds a connection by the id that its client was told, until it has gone", async () => {
    const clients = [await running.welcome(), await running.welcome(), await running.welcome()];
    for (const client of clients) {
      expect(running.server.connection(idOf(client))).toBe(running.connectionOf(client));
    }
    const [first] = clients;
    const id = idOf(first!);
    first!.peer.reset();
    expect(running.server.connection(id)).toBe(null);
  });

  it("does not take a later connection on the same channel for the one that has gone", async () => {
    const first = await running.welcome();
    const id = idOf(first);
    const { channel } = first;
    first.peer.reset();
    const second = await running.welcome();
    expect(second.channel).toBe(channel);
    expect(running.server.connection(id)).toBe(null);
    expect(running.server.send(id, "t", "x")).toBe("closed");
    await running.clock.settle();
    expect(second.messages).toEqual([]);
  });

  it.each([
    "",
    "-",
    "1-",
    "-0",
    "1-0-0",
    "0-0",
    "zz",
    "1-zzzzzzzzzzzz",
    "1- 0",
    "1-00",
    "1-0x",
    "__proto__",
  ])("finds nobody by %j", async (id) => {
    await running.welcome();
    expect(running.server.connection(id)).toBe(null);
  });

  it("finds connections by label, each under every label it gave", async () => {
    const a = await running.welcome({ user: "1", role: "admin" });
    const b = await running.welcome({ user: "1", role: "guest" });
    const c = await running.welcome({ user: "2" });
    expect(ids(running.server.find("user", "1"))).toEqual([idOf(a), idOf(b)].sort());
    expect(ids(running.server.find("role", "guest"))).toEqual([idOf(b)]);
    expect(ids(running.server.find("user", "2"))).toEqual([idOf(c)]);
    for (const [key, value] of [
      ["user", "3"],
      ["user", ""],
      ["", "1"],
      ["role", "ADMIN"],
    ] as const) {
      expect(ids(running.server.find(key, value))).toEqual([]);
    }
  });

  it("does not mix up labels whose texts join to the same", async () => {
    const a = await running.welcome({ a: "b=c" });
    expect(ids(running.server.find("a", "b=c"))).toEqual([idOf(a)]);
    expect(ids(running.server.find("a", "b"))).toEqual([]);
  });

  it("forgets labels with their connections, however they end", async () => {
    const clients = [
      await running.welcome({ user: "1" }),
      await running.welcome({ user: "1" }),
      await running.welcome({ user: "1" }),
    ];
    clients[0]!.peer.reset();
    clients[1]!.sendBody(goodbye());
    await running.clock.settle();
    expect(ids(running.server.find("user", "1"))).toEqual([idOf(clients[2]!)]);
    running.connectionOf(clients[2]!).close("rate_limited", "server");
    expect(running.server.find("user", "1").size).toBe(0);
    expect(running.server.registry.labelCount).toBe(0);
  });

  it("does not find a connection that has not said Hello by any label, but among all", async () => {
    const client = running.connect();
    expect(ids(running.server.registry.all())).toEqual([idOf(client)]);
    expect(running.server.registry.labelCount).toBe(0);
  });
});

describe("a push", () => {
  it("to one goes to that one; to nobody it is closed", async () => {
    const [a, b] = [await running.welcome(), await running.welcome()];
    expect(running.server.send(idOf(a), "direct", "x")).toBe("sent");
    expect(running.server.send("nobody-0", "direct", "x")).toBe("closed");
    await running.clock.settle();
    expect([pushes(a), pushes(b)]).toEqual([["direct"], []]);
  });

  it("before its Hello goes to no connection", async () => {
    const client = running.connect();
    expect(running.server.send(idOf(client), "early", "x")).toBe("closed");
    expect(await running.server.broadcast("early", "x")).toBe(0);
    await running.clock.settle();
    expect(client.bytes).toEqual([]);
  });

  it("to many goes to those, and says to how many", async () => {
    const a = await running.welcome({ room: "1" });
    const b = await running.welcome({ room: "1" });
    const c = await running.welcome({ room: "2" });
    const sent = running.server.sendMany(running.server.find("room", "1"), "news", "x");
    await running.clock.settle();
    expect(await sent).toBe(2);
    expect([pushes(a), pushes(b), pushes(c)]).toEqual([["news"], ["news"], []]);
    expect(await running.server.sendMany([], "news", "x")).toBe(0);
  });

  it("to all takes several turns, and passes over those that close meanwhile", async () => {
    const clients = Array.from({ length: 2_300 }, () => running.connect());
    for (const client of clients) client.sendBody(Buffer.from("08011202" + "0801", "hex"));
    await running.clock.settle();
    const sent = running.server.broadcast("news", "x");
    for (const client of clients.slice(-100)) client.peer.reset();
    await running.clock.settle();
    expect(await sent).toBe(2_200);
    for (const client of clients.slice(0, 2_200)) expect(pushes(client)).toEqual(["news"]);
    expect(running.server.shared.pool.leased).toBe(0);
  });
});

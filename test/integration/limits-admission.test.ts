// How many may be there, and what becomes of who is too many.

import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import { call, hello } from "../support/raw-message.ts";

/** Connections that are served beside the neighbours. */
const ROOM = 5;
const FULL = {
  connection: { max: ROOM + RAW_TRANSPORTS.length },
  overload: { retryAfterMs: 2_000 },
};

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test("who comes when the server is full is told 3004 and when to come back", async () => {
    const oracle = await Oracle.watch(FULL);
    const inside = await Promise.all(Array.from({ length: ROOM }, () => oracle.active(transport)));
    const times: number[] = [];
    for (let count = 0; count < 20; count++) {
      const client = await oracle.client(transport);
      const { goAway, closeCode, how } = await client.ending();
      expect({ code: goAway?.code, closeCode, how }).toEqual({
        code: 3004,
        closeCode: transport === "websocket" ? 3004 : null,
        how: "fin",
      });
      times.push(goAway!.reconnectAfterMs);
    }
    expect(Math.min(...times)).toBeGreaterThanOrEqual(2_000);
    expect(Math.max(...times)).toBeLessThanOrEqual(4_000);
    expect(new Set(times).size).toBeGreaterThan(10);
    for (const client of inside) await client.echo();
    expect(oracle.server.shared.counters.refused).toBe(20);
    expect(oracle.server.admission.served).toBe(ROOM + RAW_TRANSPORTS.length);
    for (const client of inside) await client.leave();
    await oracle.verdict({ admission: 20, peer_closed: ROOM });
  });

  test("who was too many may come as soon as somebody has left", async () => {
    const oracle = await Oracle.watch(FULL);
    const inside = await Promise.all(Array.from({ length: ROOM }, () => oracle.active(transport)));
    const first = await oracle.client(transport);
    expect((await first.ending()).goAway?.code).toBe(3004);
    await inside[0]!.leave();
    await oracle.until(() => !oracle.server.admission.isFull, "there is room");
    const second = await oracle.active(transport);
    await second.echo();
    for (const client of [...inside.slice(1), second]) await client.leave();
    await oracle.verdict({ admission: 1, peer_closed: ROOM + 1 });
  });

  test("who is turned away is not served, whatever it says", async () => {
    let calls = 0;
    const oracle = await Oracle.watch(FULL, {
      methods: (server) => server.method("count", () => void calls++),
    });
    const inside = await Promise.all(Array.from({ length: ROOM }, () => oracle.active(transport)));
    const client = await oracle.client(transport);
    if (client.socket.writable) client.send(hello(1), call(2, "count"));
    expect((await client.ending()).goAway?.code).toBe(3004);
    expect(client.messages.map(({ body }) => body)).toEqual(["goAway"]);
    expect(calls).toBe(0);
    expect(oracle.server.registry.labelCount).toBe(0);
    for (const other of inside) await other.leave();
    await oracle.verdict({ admission: 1, peer_closed: ROOM });
  });

  test("of 200 that come at once five find room, and the others are told so", async () => {
    const oracle = await Oracle.watch(FULL);
    const attempts = await Promise.allSettled(
      Array.from({ length: 200 }, () => oracle.active(transport)),
    );
    const inside = attempts.filter(({ status }) => status === "fulfilled").length;
    expect(inside).toBe(ROOM);
    expect(oracle.server.admission.served).toBe(ROOM + RAW_TRANSPORTS.length);
    for (const attempt of attempts) if (attempt.status === "fulfilled") await attempt.value.leave();
    await oracle.verdict({ admission: 200 - ROOM, peer_closed: ROOM });
  });
});

test("who was turned away and stays is cut off after a second, and counts until then", async () => {
  const oracle = await Oracle.watch(FULL);
  const inside = await Promise.all(Array.from({ length: ROOM }, () => oracle.active("tcp")));
  const client = await oracle.client("tcp", { answersFin: false });
  await client.ending();
  expect(oracle.server.admission.turnedAway).toBe(1);
  const start = performance.now();
  await oracle.until(() => oracle.server.admission.turnedAway === 0, "it is cut off");
  expect(performance.now() - start).toBeGreaterThan(700);
  expect(performance.now() - start).toBeLessThan(1_800);
  client.socket.destroy();
  for (const other of inside) await other.leave();
  await delay(1);
  await oracle.verdict({ admission: 1, peer_closed: ROOM });
});

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  CLOSE_CAUSES,
  CLOSE_REASONS,
  type CloseReason,
  invitesReconnect,
  reasonOfCode,
} from "../../src/connection/close-reason.ts";
import { TRANSPORT_FAULTS } from "../../src/transport/transport.ts";
import { MemoryServer } from "../support/memory-server.ts";

// The wire contract's table, written out: a code never changes its meaning.
const CONTRACT: readonly [code: number, name: CloseReason, invites: boolean][] = [
  [1000, "normal", false],
  [3000, "shutdown", true],
  [3001, "idle_timeout", true],
  [3002, "handshake_timeout", true],
  [3003, "slow_consumer", true],
  [3004, "overloaded", true],
  [3005, "token_expired", true],
  [3006, "rate_limited", true],
  [3007, "rebalance", true],
  [3008, "internal_error", true],
  [3500, "protocol_error", false],
  [3501, "frame_too_large", false],
  [3502, "unsupported_version", false],
  [3503, "unauthenticated", false],
  [3504, "permission_denied", false],
  [3505, "replaced", false],
  [3506, "banned", false],
];

describe("the table of close reasons", () => {
  it.each(CONTRACT)("has %i as %s", (code, name, invites) => {
    expect(CLOSE_REASONS[name].code).toBe(code);
    expect(reasonOfCode(code)).toBe(name);
    expect(invitesReconnect(name)).toBe(invites);
  });

  it("has nothing but the contract's codes, the application's, and one that is never sent", () => {
    const names = CONTRACT.map(([, name]) => name);
    const more = Object.keys(CLOSE_REASONS).filter((name) => !names.includes(name as CloseReason));
    expect(more.sort()).toEqual(["application", "connection_lost"]);
    const codes = Object.values(CLOSE_REASONS).map(({ code }) => code);
    expect(new Set(codes).size).toBe(codes.length);
  });

  it.each([4_000, 4_001, 4_999])("takes %i for the application's", (code) => {
    expect(reasonOfCode(code)).toBe("application");
  });

  it.each([
    [0, "none"],
    [-1, "none"],
    [999, "below those of WebSocket"],
    [1001, "WebSocket's: going away"],
    [1005, "never on the wire: no code"],
    [1006, "never on the wire: connection lost"],
    [1015, "never on the wire: TLS failed"],
    [2999, "reserved"],
    [3009, "not given out"],
    [3499, "not given out"],
    [3507, "not given out"],
    [3999, "not given out"],
    [4000.5, "no whole number"],
    [5_000, "beyond the last"],
    [Number.NaN, "no number"],
    [Infinity, "no number"],
  ])("has no reason for %d, which is %s", (code) => {
    expect(reasonOfCode(code)).toBe(null);
  });

  it("explains every reason and every cause in a sentence", () => {
    const docs = [...Object.values(CLOSE_REASONS).map(({ doc }) => doc)];
    for (const doc of [...docs, ...Object.values(CLOSE_CAUSES)]) expect(doc).toMatch(/^\S.*\.$/);
  });

  it("has a cause for every fault that a transport can tell", () => {
    for (const fault of TRANSPORT_FAULTS) expect(Object.keys(CLOSE_CAUSES)).toContain(fault);
  });

  it("is what protocol/README.md says about reconnecting", () => {
    const url = new URL("../../protocol/README.md", import.meta.url);
    const text = readFileSync(url, "utf8").replaceAll(/\s+/g, " ");
    expect(text).toContain("after 3000-3499 reconnect");
    expect(text).toContain("after 3500-3999 change something first");
    expect(text).toContain("4000-4999 are the application's");
  });
});

describe("disconnect()", () => {
  it.each([...CONTRACT.map(([code]) => code), 4_000, 4_999])(
    "sends %i in GoAway and as the close code, and counts it under its reason",
    async (code) => {
      const running = await MemoryServer.start();
      const client = await running.welcome();
      running.connectionOf(client).disconnect({ code, text: "why", reconnectAfterMs: 77 });
      await running.clock.settle();
      const reason = reasonOfCode(code)!;
      const reconnectAfterMs = invitesReconnect(reason) ? 77 : 0;
      const goAway = { code, reason: "why", reconnectAfterMs };
      expect(client.messages.at(-1)).toEqual({ id: 0, body: "goAway", goAway });
      expect(client.closedWith).toBe(code);
      expect(running.server.closedByReason[reason]).toBe(1);
      expect(running.server.closedByCause.server).toBe(1);
      await running.stop();
    },
  );

  it.each([0, 999, 1001, 1005, 1006, 1015, 2999, 3009, 3507, 4000.5, 5_000, Number.NaN])(
    "with %d is refused with a code, and the connection stays",
    async (code) => {
      const running = await MemoryServer.start();
      const client = await running.welcome();
      const connection = running.connectionOf(client);
      expect(() => connection.disconnect({ code })).toThrow(
        expect.objectContaining({ code: "HOLDFAST_CLOSE_CODE_INVALID" }) as Error,
      );
      await running.clock.settle();
      expect([client.closedWith, connection.isOpen]).toEqual([null, true]);
      await running.stop();
    },
  );

  it("without anything is 1000, and names the reason where no text is given", async () => {
    const running = await MemoryServer.start();
    const client = await running.welcome();
    running.connectionOf(client).disconnect();
    await running.clock.settle();
    expect(client.messages.at(-1)).toMatchObject({ goAway: { code: 1_000, reason: "normal" } });
    await running.stop();
  });

  it("sends the first 100 characters of a text", async () => {
    const running = await MemoryServer.start();
    const client = await running.welcome();
    running.connectionOf(client).disconnect({ code: 4_000, text: "ü".repeat(500) });
    await running.clock.settle();
    expect(client.messages.at(-1)).toMatchObject({ goAway: { reason: "ü".repeat(100) } });
    await running.stop();
  });

  it.each([-1, 1.5, Number.NaN, 2 ** 40])(
    "with %d ms to come back is still understood by the client",
    async (reconnectAfterMs) => {
      const running = await MemoryServer.start();
      const client = await running.welcome();
      running.connectionOf(client).disconnect({ code: 3_000, reconnectAfterMs });
      await running.clock.settle();
      expect(client.messages.at(-1)).toMatchObject({ goAway: { code: 3_000 } });
      expect(client.closedWith).toBe(3_000);
      await running.stop();
    },
  );
});

import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { optionsFrom } from "../../src/config/resolve.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import { ListeningSockets } from "../../src/supervisor/listening-sockets.ts";
import { hasNative } from "../support/native.ts";

const NOTHING: ReadonlyMap<string, readonly number[]> = new Map();

async function open(
  slots: number,
  partial: PartialOptions,
  inherited: ReadonlyMap<string, readonly number[]> = NOTHING,
): Promise<ListeningSockets> {
  const host = "127.0.0.1";
  const options = optionsFrom({
    ...partial,
    tcp: { host, port: 0, ...partial.tcp },
    websocket: { host, port: 0, ...partial.websocket },
  });
  const sockets = await ListeningSockets.open({ options, slots, inherited, hasWebSocket: true });
  onTestFinished(() => sockets.close());
  return sockets;
}

describe.runIf(hasNative)("listening sockets, held natively", () => {
  it("are one per slot and port, numbered as workers inherit them", async () => {
    const sockets = await open(3, {});
    expect(sockets.sockets.map(({ name }) => name)).toEqual([
      ...["tcp.0", "tcp.1", "tcp.2"],
      ...["websocket.0", "websocket.1", "websocket.2"],
    ]);
    expect(sockets.inheritedFiles).toEqual([3, 4, 5, 6, 7, 8]);
    expect(sockets.ofSlot(1)).toEqual({ tcp: [4], websocket: [7] });
    expect(sockets.ofSlotAlone(1)).toEqual(sockets.ofSlot(1));
    expect(new Set(sockets.sockets.map(({ file }) => file)).size).toBe(6);
  });

  it("are left to what is enabled and can be served", async () => {
    const sockets = await open(2, { websocket: { enabled: false } });
    expect(sockets.sockets.map(({ name }) => name)).toEqual(["tcp.0", "tcp.1"]);
    expect([...sockets.addresses.keys()]).toEqual(["tcp"]);
  });

  it("let clients connect before anybody accepts", async () => {
    const sockets = await open(2, {});
    const { port } = sockets.addresses.get("tcp")!;
    const socket = connect(port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    await new Promise((resolve, reject) => socket.on("connect", resolve).on("error", reject));
    expect(socket.remotePort).toBe(port);
  });

  it("are what was inherited, where something was: more than slots, or fewer", async () => {
    const held = await open(3, { websocket: { enabled: false } });
    const files = held.sockets.map(({ file }) => file);
    const given = new Map([["tcp", files]]);
    const options = optionsFrom({ websocket: { enabled: false } });
    const reopen = (slots: number): Promise<ListeningSockets> =>
      ListeningSockets.open({ options, slots, inherited: given, hasWebSocket: false });
    const two = await reopen(2);
    expect(two.ofSlot(0)).toEqual({ tcp: [3, 5] });
    expect(two.ofSlot(1)).toEqual({ tcp: [4] });
    expect(two.addresses.get("tcp")).toEqual(held.addresses.get("tcp"));
    const four = await reopen(4);
    expect([0, 1, 2, 3].map((slot) => four.ofSlot(slot)["tcp"])).toEqual([[3], [4], [5], [3]]);
    expect(four.ofSlotAlone(0)).toEqual({});
  });

  it("leave nothing open where one cannot be opened", async () => {
    const first = await open(1, { websocket: { enabled: false } });
    const { port } = first.addresses.get("tcp")!;
    const failure = await open(2, { websocket: { port } }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
    const again = await open(2, {});
    expect(again.sockets).toHaveLength(4);
  });

  it("refuse files that are no listening sockets", async () => {
    const inherited = new Map([["tcp", [1_000]]]);
    const failure = await open(1, {}, inherited).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
  });
});

describe("listening sockets on node:net", () => {
  const tcp = { transport: "tcp-net" } as const;

  it("are refused where somebody listens for WebSocket, who would share the port", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const failure = await open(2, { tcp, websocket: { port } }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
  });

  it("are one for all slots, and none for WebSocket, which listens by itself", async () => {
    const sockets = await open(3, { tcp });
    expect(sockets.sockets.map(({ name }) => name)).toEqual(["tcp.0"]);
    expect([0, 1, 2].map((slot) => sockets.ofSlot(slot))).toEqual([
      { tcp: [3] },
      { tcp: [3] },
      { tcp: [3] },
    ]);
    expect(sockets.ofSlotAlone(0)).toEqual({});
  });
});

// A Node release whose listening handle has no `onconnection` to take over: the transport asks for
// it once, right after "listening", and finds nothing.

import type * as Net from "node:net";
import { describe, expect, it, vi } from "vitest";
import { fallbackHarness } from "./socket-harness.ts";
import { Bench } from "../support/transport-bench.ts";
import { describeTransport } from "./transport-contract.ts";

const hidden = vi.hoisted(() => ({ count: 0 }));

vi.mock("node:net", async (importOriginal) => {
  const net = await importOriginal<typeof Net>();
  return {
    ...net,
    createServer(options: Net.ServerOpts): Net.Server {
      const server = net.createServer(options);
      server.once("listening", () => {
        const handle = (server as unknown as { _handle: { onconnection: unknown } })._handle;
        const { onconnection } = handle;
        let isAsked = false;
        Object.defineProperty(handle, "onconnection", {
          get() {
            if (isAsked) return onconnection;
            isAsked = true;
            hidden.count++;
            return undefined;
          },
        });
      });
      return server;
    },
  };
});

describeTransport(fallbackHarness);

describe("the fallback", () => {
  it("is what was tested here", async () => {
    const before = hidden.count;
    const bench = new Bench(fallbackHarness);
    await bench.open();
    await bench.connect();
    await bench.dispose();
    expect(hidden.count).toBe(before + 1);
  });
});

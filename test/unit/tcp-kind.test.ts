// Which transport serves TCP: what the option says, against what can be loaded here.
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { tcpKind } from "../../src/server/listener-spec.ts";

const broken = new HoldfastError("HOLDFAST_TRANSPORT_UNAVAILABLE", "it was not built: no g++");

function loads(): object {
  return {};
}

function fails(): never {
  throw broken;
}

describe("tcp.transport", () => {
  it("auto takes tcp-epoll where the addon can be loaded", () => {
    const { kind, reason } = tcpKind("auto", loads);
    expect([kind, reason]).toEqual(["tcp-epoll", "the native addon could be loaded"]);
  });

  it("auto takes tcp-net where it cannot, and says what was wrong and what to do", () => {
    expect(tcpKind("auto", fails)).toEqual({ kind: "tcp-net", reason: broken.message });
  });

  it("tcp-epoll is an error where the addon cannot be loaded", () => {
    expect(() => tcpKind("tcp-epoll", fails)).toThrow(broken);
    expect(tcpKind("tcp-epoll", loads).kind).toBe("tcp-epoll");
  });

  it("tcp-net does not even try to load the addon", () => {
    let tries = 0;
    const { kind } = tcpKind("tcp-net", () => tries++);
    expect([kind, tries]).toEqual(["tcp-net", 0]);
  });
});

import { describe, expect, it } from "vitest";
import { EndpointList } from "../../src/client/endpoint-list.ts";
import {
  type Endpoint,
  ENDPOINTS_MAX,
  parseEndpoint,
  parseEndpoints,
} from "../../src/transport/endpoint.ts";

const SCHEMES = ["tcp", "tls", "unix", "ws", "wss"];

function parsed(text: string): Endpoint {
  const endpoint = parseEndpoint(text, SCHEMES);
  if (typeof endpoint === "string") throw new Error(`${text} ${endpoint}`);
  return endpoint;
}

describe("an endpoint", () => {
  it.each([
    ["tcp://127.0.0.1:7400", { scheme: "tcp", host: "127.0.0.1", port: 7400, path: "" }],
    ["tcp://example.org", { scheme: "tcp", host: "example.org", port: 7400 }],
    ["tcp://example.org:80", { scheme: "tcp", port: 80 }],
    ["TCP://example.org:1/", { scheme: "tcp", port: 1 }],
    ["tls://example.org:443", { scheme: "tls", port: 443 }],
    ["tcp://[::1]:7400", { host: "::1", port: 7400 }],
    ["tcp://[2001:db8::1]", { host: "2001:db8::1", port: 7400 }],
    ["ws://example.org", { scheme: "ws", port: 80, path: "/" }],
    ["ws://example.org:7401/a/b?c=d", { port: 7401, path: "/a/b?c=d" }],
    ["wss://example.org/", { scheme: "wss", port: 443, path: "/" }],
    ["unix:/run/holdfast.sock", { scheme: "unix", path: "/run/holdfast.sock", port: 0 }],
    ["unix:///run/a b%20.sock", { scheme: "unix", path: "/run/a b%20.sock" }],
    ["unix:relative.sock", { scheme: "unix", path: "relative.sock" }],
  ])("%s is read", (text, expected) => {
    expect(parsed(text)).toMatchObject({ ...expected, text });
  });

  it.each([
    ["", /^needs one of the schemes tcp, tls, unix, ws, wss/],
    ["example.org", /^needs one of the schemes/],
    ["example.org:7400", /^needs one of the schemes/],
    ["http://example.org", /^needs one of the schemes/],
    ["://example.org", /^needs one of the schemes/],
    ["tcp:", /^is no tcp:\/\/host:port/],
    ["tcp://", /^is no tcp:/],
    ["tcp:example.org:7400", /^is no tcp:/],
    ["tcp://:7400", /^is no tcp:/],
    ["tcp://example.org:65536", /^is no tcp:/],
    ["tcp://example.org:-1", /^is no tcp:/],
    ["tcp://example.org:port", /^is no tcp:/],
    ["tcp://a b:1", /^is no tcp:/],
    ["tcp://[::1", /^is no tcp:/],
    ["tcp://::1:7400", /^is no tcp:/],
    ["tcp://example.org:0", /^needs a port from 1 to 65535/],
    ["tcp://example.org:1/path", /^has no path on TCP/],
    ["tls://example.org?x=1", /^has no path on TCP/],
    ["ws://example.org/#part", /^must not have a #fragment/],
    ["wss://user:secret@example.org", /^must not hold a password/],
    ["tcp://user@example.org", /^must not hold a password/],
    ["unix:", /^needs the path of a socket/],
    ["unix://", /^needs the path of a socket/],
    ["unix:/a\0b", /^needs the path of a socket/],
    [`ws://example.org/${"x".repeat(2_048)}`, /^is longer than 2048 characters/],
  ])("%j is refused", (text, problem) => {
    expect(parseEndpoint(text, SCHEMES)).toMatch(problem);
  });

  it("of a scheme that the dialer has not is refused", () => {
    expect(parseEndpoint("tcp://a:1", ["ws", "wss"])).toMatch(/^needs one of the schemes ws, wss/);
  });
});

describe("endpoints of a user", () => {
  it.each([
    ["none", [], /^endpoints: between 1 and 64 are needed, not 0/],
    ["too many", new Array<string>(ENDPOINTS_MAX + 1).fill("tcp://a:1"), /not 65$/],
    ["a bad one", "nonsense", /^endpoint "nonsense" needs one of/],
    ["a bad one among others", ["tcp://a:1", "tcp://b:0"], /^endpoints\[1\] "tcp:\/\/b:0" needs/],
    ["a number", [7400], /^endpoints\[0\] is not text/],
    ["nothing", undefined, /^endpoint is not text/],
    ["an object", { host: "a" }, /^endpoint is not text/],
  ])("are refused: %s", (_, given, message) => {
    const run = (): unknown => parseEndpoints(given as string, SCHEMES);
    expect(run).toThrow(expect.objectContaining({ code: "HOLDFAST_OPTIONS_INVALID" }) as Error);
    expect(run).toThrow(message);
  });
});

describe("the list of endpoints", () => {
  const list = (...texts: string[]): EndpointList => new EndpointList(texts.map(parsed), SCHEMES);
  const take = (from: EndpointList, count: number): string[] =>
    Array.from({ length: count }, () => from.next().text);

  it("is tried in turn, again and again", () => {
    const endpoints = list("tcp://a:1", "tcp://b:1", "tcp://c:1");
    expect(take(endpoints, 5).map((text) => text[6])).toEqual(["a", "b", "c", "a", "b"]);
  });

  it("puts a server's hints first, once each", () => {
    const endpoints = list("tcp://a:1", "tcp://b:1");
    const from = endpoints.next();
    endpoints.hint(["tcp://x:1", "tcp://y:1"], from);
    expect(take(endpoints, 4).map((text) => text[6])).toEqual(["x", "y", "b", "a"]);
  });

  it("takes eight hints at most, however often they come", () => {
    const endpoints = list("tcp://a:1");
    const hints = Array.from({ length: 20 }, (_, n) => `tcp://h${n}:1`);
    endpoints.hint(hints, parsed("tcp://a:1"));
    endpoints.hint(hints, parsed("tcp://a:1"));
    expect(take(endpoints, 9).at(7)).toBe("tcp://h7:1");
    expect(take(endpoints, 1)).toEqual(["tcp://a:1"]);
  });

  it.each([
    ["that cannot be read", "tcp://a:1", "nonsense"],
    ["with a port that is none", "tcp://a:1", "tcp://b:0"],
    ["from TLS to plain TCP", "tls://a:1", "tcp://b:1"],
    ["from TLS to a plain WebSocket", "tls://a:1", "ws://b:1"],
    ["from wss to ws", "wss://a:1", "ws://b:1"],
    ["from a local socket to the open network", "unix:/a", "tcp://b:1"],
    ["from the network to a local socket", "tcp://a:1", "unix:/run/other.sock"],
    ["from TLS to a local socket", "tls://a:1", "unix:/run/other.sock"],
  ])("ignores a hint %s", (_, from, hint) => {
    const endpoints = list("tcp://own:1");
    endpoints.hint([hint], parsed(from));
    expect(take(endpoints, 1)).toEqual(["tcp://own:1"]);
  });

  it.each([
    ["tcp://a:1", "tls://b:1"],
    ["ws://a:1", "wss://b:1"],
    ["wss://a:1", "tls://b:1"],
    ["unix:/a", "unix:/b"],
    ["unix:/a", "tls://b:1"],
  ])("takes a hint from %s to %s", (from, hint) => {
    const endpoints = list("tcp://own:1");
    endpoints.hint([hint], parsed(from));
    expect(take(endpoints, 2)).toEqual([hint, "tcp://own:1"]);
  });
});

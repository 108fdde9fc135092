import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Prng } from "../../src/base/prng.ts";
import type { Target } from "../../src/probe/target.ts";
import {
  checkResponse,
  HEADER_BYTES_MAX,
  headEnd,
  OPCODE,
  readWebSocketFrames,
  upgradeKey,
  upgradeRequest,
  wrapFrame,
} from "../../src/probe/websocket.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
/** RFC 6455, section 1.3. */
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

function response(...changes: readonly [string, string | null][]): string {
  const headers = new Map<string, string | null>([
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", ACCEPT],
    ...changes,
  ]);
  const lines = [...headers].flatMap(([name, value]) =>
    value === null ? [] : `${name}: ${value}`,
  );
  return ["HTTP/1.1 101 Switching Protocols", ...lines].join("\r\n");
}

describe("the answer to an upgrade", () => {
  it("is taken where it proves that our key was read", () => {
    expect(checkResponse(response(), KEY, "")).toBeNull();
  });

  it("may spell its headers as it likes", () => {
    const head = response(["Upgrade", "WebSocket"], ["Connection", "keep-alive, upgrade"]);
    expect(
      checkResponse(head.replace("Sec-WebSocket-Accept", "sec-websocket-ACCEPT"), KEY, ""),
    ).toBe(null);
  });

  it("chooses the subprotocol that was offered", () => {
    const head = response(["Sec-WebSocket-Protocol", "holdfast.v1"]);
    expect(checkResponse(head, KEY, "holdfast.v1")).toBeNull();
  });

  it.each([
    ["a status that is no 101", "HTTP/1.1 403 Forbidden", "upgrade.status.403"],
    ["a status without words", "HTTP/1.0 503", "upgrade.status.503"],
    ["a wrong Accept", response(["Sec-WebSocket-Accept", `${ACCEPT}x`]), "upgrade.bad_accept"],
    ["no Accept", response(["Sec-WebSocket-Accept", null]), "upgrade.bad_accept"],
    ["another upgrade", response(["Upgrade", "h2c"]), "upgrade.bad_accept"],
    ["no Upgrade", response(["Upgrade", null]), "upgrade.bad_accept"],
    ["no Connection", response(["Connection", "close"]), "upgrade.bad_accept"],
    ["an uninvited extension", response(["Sec-WebSocket-Extensions", "x"]), "upgrade.bad_accept"],
    ["an uninvited protocol", response(["Sec-WebSocket-Protocol", "x"]), "upgrade.bad_accept"],
    ["something that is no HTTP", "SSH-2.0-OpenSSH_9.2", "upgrade.bad_response"],
    ["nothing", "", "upgrade.bad_response"],
    ["a status of four digits", "HTTP/1.1 1010 no", "upgrade.bad_response"],
  ])("is refused: %s", (_, head, failure) => {
    expect(checkResponse(head, KEY, "")).toBe(failure);
  });

  it("is refused where the subprotocol that was offered is not chosen", () => {
    expect(checkResponse(response(), KEY, "holdfast.v1")).toBe("upgrade.bad_accept");
  });

  it("ends at the first blank line", () => {
    expect(headEnd(Buffer.from("HTTP/1.1 101\r\na: b\r\n\r\nrest\r\n\r\n"))).toBe(22);
    expect(headEnd(Buffer.from("HTTP/1.1 101\r\na: b\r\n"))).toBe(-1);
  });
});

describe("the request for an upgrade", () => {
  const target: Target = {
    text: "",
    isTls: false,
    isWebSocket: true,
    host: "example.test",
    address: "192.0.2.1",
    family: 4,
    port: 7401,
    path: "/chat?room=1",
  };

  it("names the host, the path and the key", () => {
    const request = upgradeRequest(target, KEY, "holdfast.v1");
    expect(request).toMatch(/^GET \/chat\?room=1 HTTP\/1\.1\r\nHost: example\.test:7401\r\n/);
    expect(request).toContain(`\r\nSec-WebSocket-Key: ${KEY}\r\n`);
    expect(request).toContain("\r\nSec-WebSocket-Protocol: holdfast.v1\r\n");
    expect(request.endsWith("\r\n\r\n")).toBe(true);
  });

  it("leaves out a default port, and puts IPv6 into brackets", () => {
    expect(upgradeRequest({ ...target, port: 80 }, KEY, "")).toContain("Host: example.test\r\n");
    const secure = { ...target, isTls: true, port: 443, host: "::1" };
    expect(upgradeRequest(secure, KEY, "")).toContain("Host: [::1]\r\n");
    expect(upgradeRequest(secure, KEY, "")).not.toContain("Protocol");
  });

  it("has another key every time, of sixteen bytes", () => {
    const prng = new Prng(1);
    const keys = Array.from({ length: 100 }, () => upgradeKey(prng));
    expect(new Set(keys).size).toBe(100);
    for (const key of keys) expect(Buffer.from(key, "base64")).toHaveLength(16);
    expect(createHash("sha1").update(keys[0]!).digest()).toHaveLength(20);
  });
});

interface Frame {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly payload: string;
}

function read(bytes: Uint8Array, max = 1_000_000): { frames: Frame[]; consumed: number } {
  const frames: Frame[] = [];
  const consumed = readWebSocketFrames(bytes, 0, bytes.length, max, {
    onWebSocketFrame(opcode, isFinal, chunk, start, end) {
      frames.push({ opcode, isFinal, payload: Buffer.from(chunk.subarray(start, end)).toString() });
      return true;
    },
  });
  return { frames, consumed };
}

/** A frame as servers send it. */
function frame(opcode: number, payload: Uint8Array | string, isFinal = true): Buffer {
  const body = Buffer.from(payload);
  const first = (isFinal ? 0x80 : 0) | opcode;
  if (body.length < 126) return Buffer.concat([Buffer.of(first, body.length), body]);
  const header = Buffer.alloc(body.length < 65_536 ? 4 : 10);
  header[0] = first;
  header[1] = body.length < 65_536 ? 126 : 127;
  if (body.length < 65_536) header.writeUInt16BE(body.length, 2);
  else header.writeBigUInt64BE(BigInt(body.length), 2);
  return Buffer.concat([header, body]);
}

describe("frames of a server", () => {
  it.each([0, 1, 125, 126, 127, 65_535, 65_536, 100_000])("are read whole: %i bytes", (length) => {
    const payload = "x".repeat(length);
    const bytes = Buffer.concat([frame(OPCODE.BINARY, payload), frame(OPCODE.PING, "p")]);
    const { frames, consumed } = read(bytes);
    expect(consumed).toBe(bytes.length);
    expect(frames).toEqual([
      { opcode: OPCODE.BINARY, isFinal: true, payload },
      { opcode: OPCODE.PING, isFinal: true, payload: "p" },
    ]);
  });

  it("wait for the rest, wherever they are cut", () => {
    const bytes = Buffer.concat([frame(OPCODE.BINARY, "first"), frame(2, "x".repeat(300))]);
    for (let cut = 0; cut < bytes.length; cut++) {
      const { frames, consumed } = read(bytes.subarray(0, cut));
      expect(frames).toHaveLength(cut < 7 ? 0 : 1);
      expect(consumed).toBe(cut < 7 ? 0 : 7);
    }
  });

  it.each([
    ["masked ones", Buffer.of(0x82, 0x81, 1, 2, 3, 4, 5)],
    ["reserved bits", Buffer.of(0xc2, 0x01, 5)],
    ["a length beyond what is allowed", frame(OPCODE.BINARY, "x".repeat(1_001))],
    ["a length of 2^63", Buffer.of(0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0)],
  ])("are refused: %s", (_, bytes) => {
    expect(read(bytes, 1_000).consumed).toBe(-1);
  });

  it("stop where they are told to", () => {
    const bytes = Buffer.concat([frame(OPCODE.CLOSE, ""), frame(OPCODE.BINARY, "late")]);
    let seen = 0;
    const handler = {
      onWebSocketFrame: () => {
        seen++;
        return false;
      },
    };
    expect(readWebSocketFrames(bytes, 0, bytes.length, 100, handler)).toBe(2);
    expect(seen).toBe(1);
  });
});

describe("a frame of ours", () => {
  it("is masked, and says what was put into it", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70_000 }), fc.integer(), (payload, mask) => {
        const bytes = new Uint8Array(HEADER_BYTES_MAX + payload.length);
        bytes.set(payload, HEADER_BYTES_MAX);
        const start = wrapFrame(bytes, HEADER_BYTES_MAX, payload.length, OPCODE.BINARY, mask);
        const { length } = payload;
        const masked = Buffer.from(bytes.subarray(HEADER_BYTES_MAX - 4));
        const open = masked.subarray(4).map((byte, index) => byte ^ masked[index & 3]!);
        expect(Buffer.compare(open, Buffer.from(payload))).toBe(0);
        expect(bytes[start]).toBe(0x82);
        expect(bytes[start + 1]! & 0x80).toBe(0x80);
        // Without its mask it is what a server would send.
        const plain = Buffer.concat([
          Buffer.from(bytes.subarray(start, HEADER_BYTES_MAX - 4)),
          Buffer.from(payload),
        ]);
        plain[1]! &= 0x7f;
        expect(Buffer.compare(plain, frame(OPCODE.BINARY, payload))).toBe(0);
        expect(HEADER_BYTES_MAX - start).toBe(length < 126 ? 6 : length < 65_536 ? 8 : 14);
      }),
      { numRuns: 60 },
    );
  });
});

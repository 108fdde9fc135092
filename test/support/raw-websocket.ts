// RFC 6455 frames by hand, as a client writes and reads them, well formed or not.

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

export const OPCODE = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

export interface WebSocketFrameInit {
  readonly opcode: number;
  readonly payload?: Uint8Array | string;
  /** Default true. */
  readonly fin?: boolean;
  /** RSV1 to RSV3 as bits 4, 2, 1. */
  readonly rsv?: number;
  /** Null: the frame is not masked, which no client may do. */
  readonly mask?: readonly [number, number, number, number] | null;
}

const MASK = [0x12, 0x34, 0x56, 0x78] as const;

export function webSocketFrame(init: WebSocketFrameInit): Buffer {
  const payload = Buffer.from(init.payload ?? "");
  const mask = init.mask === undefined ? MASK : init.mask;
  const first = (init.fin === false ? 0 : 0x80) | ((init.rsv ?? 0) << 4) | init.opcode;
  const maskBit = mask === null ? 0 : 0x80;
  let header: Buffer;
  if (payload.length < 126) {
    header = Buffer.from([first, maskBit | payload.length]);
  } else if (payload.length < 0x1_0000) {
    header = Buffer.from([first, maskBit | 126, payload.length >> 8, payload.length & 0xff]);
  } else {
    header = Buffer.alloc(10);
    header[0] = first;
    header[1] = maskBit | 127;
    header.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  if (mask === null) return Buffer.concat([header, payload]);
  const masked = Buffer.alloc(payload.length);
  for (let index = 0; index < payload.length; index++) {
    masked[index] = payload[index]! ^ mask[index & 3]!;
  }
  return Buffer.concat([header, Buffer.from(mask), masked]);
}

export function binaryMessage(payload: Uint8Array): Buffer {
  return webSocketFrame({ opcode: OPCODE.BINARY, payload });
}

export function closeFrame(code: number, reason: string = ""): Buffer {
  const payload = Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]);
  return webSocketFrame({ opcode: OPCODE.CLOSE, payload });
}

export interface WebSocketFrameRead {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** Cuts what the server sends into WebSocket frames. Throws where they break RFC 6455. */
export class WebSocketCutter {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): WebSocketFrameRead[] {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: WebSocketFrameRead[] = [];
    for (;;) {
      const size = sizeOf(bytes);
      if (size === null || size.header + size.payload > bytes.length) break;
      const end = size.header + size.payload;
      if ((bytes[0]! & 0xf0) !== 0x80) throw new Error("the server fragments or sets a RSV bit");
      frames.push({ opcode: bytes[0]! & 0x0f, payload: bytes.subarray(size.header, end) });
      bytes = bytes.subarray(end);
    }
    this.#rest = bytes;
    return frames;
  }
}

function sizeOf(bytes: Buffer): { header: number; payload: number } | null {
  if (bytes.length < 2) return null;
  if ((bytes[1]! & 0x80) !== 0) throw new Error("a server does not mask");
  const short = bytes[1]! & 0x7f;
  if (short < 126) return { header: 2, payload: short };
  if (short === 126) return bytes.length < 4 ? null : { header: 4, payload: bytes.readUInt16BE(2) };
  return bytes.length < 10 ? null : { header: 10, payload: Number(bytes.readBigUInt64BE(2)) };
}

export const UPGRADE_KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** What a well-behaved client asks for; a header that is null is left out. */
export function upgradeRequest(
  headers: Readonly<Record<string, string | null>> = {},
  requestLine: string = "GET /any/path HTTP/1.1",
): string {
  const all: Record<string, string | null> = {
    Host: "127.0.0.1",
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": UPGRADE_KEY,
    "Sec-WebSocket-Protocol": "holdfast.v1",
    ...headers,
  };
  const lines = Object.entries(all).filter(([, value]) => value !== null);
  return [requestLine, ...lines.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
}

export interface HttpHead {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** Offset of the first byte after the head. */
  readonly end: number;
}

/** Null: the head is not complete. */
export function readHttpHead(bytes: Buffer): HttpHead | null {
  const end = bytes.indexOf("\r\n\r\n");
  if (end === -1) return null;
  const [line = "", ...rest] = bytes.subarray(0, end).toString("latin1").split("\r\n");
  const headers = new Map<string, string>();
  for (const header of rest) {
    const colon = header.indexOf(":");
    headers.set(header.slice(0, colon).toLowerCase(), header.slice(colon + 1).trim());
  }
  return { status: Number(line.split(" ")[1]), headers, end: end + 4 };
}

/** What RFC 6455 makes of {@link UPGRADE_KEY}. */
export function acceptFor(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

// WebSocket (RFC 6455) as a client needs it to hold many connections: an upgrade whose answer is
// checked, and frames read and written in shared memory. A library's client costs several times
// the bytes that a held connection may.

import { createHash } from "node:crypto";
import { assert } from "../base/assert.ts";
import type { Bytes } from "../base/buffer-pool.ts";
import type { Prng } from "../base/prng.ts";
import type { FailureCode } from "./failure.ts";
import type { Target } from "./target.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** Longest head of an answer to the upgrade. */
export const RESPONSE_BYTES_MAX = 16_384;

export const OPCODE = {
  CONTINUATION: 0,
  TEXT: 1,
  BINARY: 2,
  CLOSE: 8,
  PING: 9,
  PONG: 10,
} as const;

/** Most bytes before the payload of a frame that a client sends. */
export const HEADER_BYTES_MAX = 14;
const MASK_BIT = 0x80;
const FIN_BIT = 0x80;
const RESERVED_BITS = 0x70;
const OPCODE_BITS = 0x0f;

/** Sixteen bytes in base64, which the answer has to prove that it has read. */
export function upgradeKey(prng: Prng): string {
  const bytes = Buffer.allocUnsafe(16);
  for (let at = 0; at < 16; at += 4) bytes.writeUInt32LE(prng.uint32(), at);
  return bytes.toString("base64");
}

/** The request, whole. @param subprotocol "" for none. */
export function upgradeRequest(target: Target, key: string, subprotocol: string): string {
  const host = target.host.includes(":") ? `[${target.host}]` : target.host;
  const isDefaultPort = target.port === (target.isTls ? 443 : 80);
  return (
    `GET ${target.path} HTTP/1.1\r\n` +
    `Host: ${host}${isDefaultPort ? "" : `:${target.port}`}\r\n` +
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
    `Sec-WebSocket-Key: ${key}\r\n` +
    (subprotocol === "" ? "" : `Sec-WebSocket-Protocol: ${subprotocol}\r\n`) +
    "\r\n"
  );
}

/** Offset just after the blank line that ends a head, or -1. */
export function headEnd(bytes: Buffer): number {
  const at = bytes.indexOf("\r\n\r\n");
  return at === -1 ? -1 : at + 4;
}

/** What is wrong with the head of an answer, or null: the upgrade is done. */
export function checkResponse(head: string, key: string, subprotocol: string): FailureCode | null {
  const lines = head.split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(lines[0] ?? "")?.[1];
  if (status === undefined) return "upgrade.bad_response";
  if (status !== "101") return `upgrade.status.${Number(status)}`;
  const headers = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const accept = createHash("sha1").update(`${key}${GUID}`).digest("base64");
  const isUpgrade =
    headers.get("sec-websocket-accept") === accept &&
    headers.get("upgrade")?.toLowerCase() === "websocket" &&
    /(?:^|[\s,])upgrade(?:[\s,]|$)/i.test(headers.get("connection") ?? "") &&
    // What was not offered may not be chosen.
    (headers.get("sec-websocket-protocol") ?? "") === subprotocol &&
    (headers.get("sec-websocket-extensions") ?? "") === "";
  return isUpgrade ? null : "upgrade.bad_accept";
}

/**
 * Puts a whole masked frame around payload bytes that already stand at
 * `payloadStart..payloadStart + length`, with HEADER_BYTES_MAX bytes free before them.
 * @returns where the frame begins.
 */
export function wrapFrame(
  bytes: Bytes,
  payloadStart: number,
  length: number,
  opcode: number,
  mask: number,
): number {
  const headerBytes = length < 126 ? 6 : length < 65_536 ? 8 : 14;
  assert(payloadStart >= headerBytes, "there is room for a header");
  const start = payloadStart - headerBytes;
  bytes[start] = FIN_BIT | opcode;
  if (length < 126) {
    bytes[start + 1] = MASK_BIT | length;
  } else if (length < 65_536) {
    bytes[start + 1] = MASK_BIT | 126;
    bytes[start + 2] = length >>> 8;
    bytes[start + 3] = length;
  } else {
    bytes[start + 1] = MASK_BIT | 127;
    bytes.fill(0, start + 2, start + 6);
    writeUint32(bytes, start + 6, length);
  }
  const maskAt = payloadStart - 4;
  writeUint32(bytes, maskAt, mask);
  for (let index = 0; index < length; index++) {
    bytes[payloadStart + index] = bytes[payloadStart + index]! ^ bytes[maskAt + (index & 3)]!;
  }
  return start;
}

function writeUint32(bytes: Bytes, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Control frames are short and whole; the other opcodes have no meaning. */
function isLegal(opcode: number, isFinal: boolean, length: number): boolean {
  if (opcode <= OPCODE.BINARY) return true;
  return opcode >= OPCODE.CLOSE && opcode <= OPCODE.PONG && isFinal && length <= 125;
}

export interface FrameHandler {
  /** One whole frame; the bytes are valid until this returns. False: stop here. */
  onWebSocketFrame(
    opcode: number,
    isFinal: boolean,
    bytes: Bytes,
    start: number,
    end: number,
  ): boolean;
}

/**
 * Hands over every whole frame of a server in start..end.
 * @returns the offset of the first byte that was not consumed; -1: these are no frames of a server.
 */
export function readWebSocketFrames(
  bytes: Bytes,
  start: number,
  end: number,
  payloadBytesMax: number,
  handler: FrameHandler,
): number {
  let at = start;
  while (end - at >= 2) {
    const first = bytes[at]!;
    const second = bytes[at + 1]!;
    // No extension was agreed on, and a server does not mask.
    if ((first & RESERVED_BITS) !== 0 || (second & MASK_BIT) !== 0) return -1;
    const opcode = first & OPCODE_BITS;
    const isFinal = (first & FIN_BIT) !== 0;
    if (!isLegal(opcode, isFinal, second)) return -1;
    let length = second;
    let payloadStart = at + 2;
    if (length === 126) {
      if (end - at < 4) break;
      length = (bytes[at + 2]! << 8) | bytes[at + 3]!;
      payloadStart = at + 4;
    } else if (length === 127) {
      if (end - at < 10) break;
      length = 0;
      for (let index = at + 2; index < at + 10; index++) length = length * 256 + bytes[index]!;
      payloadStart = at + 10;
    }
    if (length > payloadBytesMax) return -1;
    const payloadEnd = payloadStart + length;
    if (payloadEnd > end) break;
    at = payloadEnd;
    if (!handler.onWebSocketFrame(opcode, isFinal, bytes, payloadStart, payloadEnd)) break;
  }
  return at;
}

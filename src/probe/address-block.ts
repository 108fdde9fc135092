// Blocks of IP addresses as people write them: one address, or CIDR.

import { isIP } from "node:net";

/** More are no list of local addresses but a mistake. */
export const LOCAL_IPS_MAX = 65_536;

const BITS = { 4: 32, 6: 128 } as const;

/** The addresses of `10.0.0.1` or `10.0.0.8/29`, or what is wrong with it. */
export function expandBlock(text: string): readonly string[] | string {
  const [address = "", prefixText, ...more] = text.split("/");
  const family = isIP(address);
  if (family === 0 || more.length > 0 || address.includes("%")) {
    return "is no IP address and no block such as 10.0.0.8/29";
  }
  const bits = BITS[family === 6 ? 6 : 4];
  if (prefixText === undefined) return [family === 6 ? canonical(address) : address];
  const prefix = /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : Infinity;
  if (prefix > bits) return `has no prefix of 0 to ${bits} bits behind its slash`;
  const size = 2 ** (bits - prefix);
  if (size > LOCAL_IPS_MAX) {
    return `has more than ${LOCAL_IPS_MAX} addresses: its prefix must be ${bits - 16} bits or more`;
  }
  const first = (toBits(address, family) / BigInt(size)) * BigInt(size);
  // What means the whole subnet: IPv4's network and broadcast, IPv6's routers (RFC 4291, 2.6.1).
  const skip = size > 2 ? 1 : 0;
  const skipLast = family === 4 ? skip : 0;
  return Array.from({ length: size - skip - skipLast }, (_, index) =>
    toText(first + BigInt(skip + index), family),
  );
}

function toBits(address: string, family: number): bigint {
  if (family === 4) {
    return address.split(".").reduce((bits, part) => (bits << 8n) | BigInt(part), 0n);
  }
  const [head = "", tail] = canonical(address).split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros: string[] = Array(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right].reduce(
    (bits, part) => (bits << 16n) | BigInt(`0x${part}`),
    0n,
  );
}

function toText(bits: bigint, family: number): string {
  const width = family === 4 ? 8n : 16n;
  const count = family === 4 ? 4 : 8;
  const parts = Array.from({ length: count }, (_, index) =>
    Number((bits >> (BigInt(count - 1 - index) * width)) & ((1n << width) - 1n)),
  );
  if (family === 4) return parts.join(".");
  return canonical(parts.map((part) => part.toString(16)).join(":"));
}

/** The shortest way to write it, with no IPv4 in it (RFC 5952). */
function canonical(address: string): string {
  return new URL(`http://[${address}]`).hostname.slice(1, -1);
}

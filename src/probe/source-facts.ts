// What this host offers to connect from: the kernel's range of local ports, and the addresses of
// the interfaces that lead to the targets. Nothing is sent to find out.

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { HoldfastError } from "../base/errors.ts";
import { type Host, isSource, type PortRange } from "./host.ts";
import { isLoopback, isUnix, type Target } from "./target.ts";

/** What a plan of sources depends on besides what was asked for. */
export interface SourceFacts {
  /**
   * Where to begin among the addresses: a whole number, another one in every run, so that probes
   * that run at once seldom meet.
   */
  readonly base: number;
  /** What the kernel chooses local ports from. */
  readonly ports: readonly PortRange[];
  /** By a target's address: the local addresses that lead to it. */
  readonly egress: ReadonlyMap<string, readonly string[]>;
}

/** What Linux chooses from unless told otherwise. */
const PORTS_DEFAULT: PortRange = { first: 32_768, last: 60_999 };

export async function readSourceFacts(
  targets: readonly Target[],
  host: Host,
  base: number,
): Promise<SourceFacts> {
  const egress = new Map<string, readonly string[]>();
  for (const target of targets) {
    if (isUnix(target) || isLoopback(target) || egress.has(target.address)) continue;
    egress.set(target.address, await egressAddresses(target));
  }
  return { base, ports: usablePorts(host), egress };
}

/** The kernel's range without what is reserved in it. */
export function usablePorts(host: Host): readonly PortRange[] {
  const { first, last } = host.portRange ?? PORTS_DEFAULT;
  const left: PortRange[] = [];
  let next = first;
  for (const reserved of host.reservedPorts.toSorted((a, b) => a.first - b.first)) {
    if (reserved.last < next || reserved.first > last) continue;
    if (reserved.first > next) left.push({ first: next, last: reserved.first - 1 });
    next = reserved.last + 1;
  }
  if (next <= last) left.push({ first: next, last });
  return left;
}

/**
 * All addresses of the interface that the kernel would leave through, of the target's family, its
 * own choice first; none where no route leads there.
 */
export async function egressAddresses(target: Target): Promise<readonly string[]> {
  const socket = createSocket(target.family === 6 ? "udp6" : "udp4");
  try {
    const connected = once(socket, "connect");
    // Connecting a datagram socket looks up the route and sends nothing.
    socket.connect(target.port, target.address);
    await connected;
    return addressesBeside(socket.address().address, networkInterfaces());
  } catch {
    return [];
  } finally {
    socket.close();
  }
}

/** The address, and those on its interface that can take its place. */
export function addressesBeside(
  address: string,
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>,
): readonly string[] {
  for (const entries of Object.values(interfaces)) {
    const own = entries?.find((entry) => entry.address === address);
    if (own === undefined) continue;
    const others = entries!.filter(
      (entry) => entry !== own && entry.family === own.family && isSource(entry),
    );
    return [address, ...others.map((entry) => entry.address)];
  }
  return [address];
}

/**
 * Rejects with HOLDFAST_OPTIONS_INVALID, which names the address, where this host has one of them
 * not. Those of its interfaces are known; the others are bound to, once each.
 */
export async function checkLocalIps(addresses: readonly string[]): Promise<void> {
  const known = new Set(
    Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
  );
  for (const address of addresses) {
    if (known.has(address) || address.startsWith("127.")) continue;
    const server = createServer();
    try {
      server.listen({ host: address, port: 0 });
      await once(server, "listening");
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? "unknown";
      const message = `--local-ips: this host does not have ${address} (${code})`;
      throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", message, { cause: error });
    } finally {
      server.close();
    }
  }
}

// Local addresses and ports, chosen by ourselves. Left to the kernel, a bound address has one port
// for one connection; but what must be unique is address and port at both ends, so a pair serves
// every destination once. Which pairs each generator process has is planned before it starts.

import { isIP } from "node:net";
import { assert } from "../base/assert.ts";
import { HoldfastError } from "../base/errors.ts";
import { expandBlock, LOCAL_IPS_MAX } from "./address-block.ts";
import type { PortRange } from "./host.ts";
import type { SourceFacts } from "./source-facts.ts";
import { isLoopback, isUnix, type Target } from "./target.ts";

/** Ports `firstPort` to `lastPort`, both included, of one local address. */
export interface SourceRange {
  readonly address: string;
  readonly firstPort: number;
  readonly lastPort: number;
  /**
   * Indices of the targets that can be reached from this address; absent: all. Ranges of one target
   * stand one after another.
   */
  readonly targets?: readonly number[];
}

/** Marks a queued pair that somebody else had when it was tried. */
const SKIPPED = 0x8000_0000;

/** Pairs of one destination: those never used, and a queue of those that came back. */
interface Shelf {
  readonly firstPair: number;
  readonly size: number;
  /** The first pair to be used: destinations begin at different ones, and seldom share them. */
  readonly offset: number;
  used: number;
  /** A ring. Its memory is touched only as pairs come back: holding costs nothing. */
  readonly queue: Uint32Array;
  head: number;
  queued: number;
  skipped: number;
}

/**
 * Pairs are numbers, and belong to one destination at a time. A pair that comes back is offered
 * again after all others: by then its last connection has most likely left TIME_WAIT.
 */
export class SourceAddresses {
  readonly #ranges: readonly SourceRange[];
  /** By range: its first pair; and one more, the number of pairs. */
  readonly #firstPairs: Uint32Array;
  readonly #shelves: readonly Shelf[];

  /**
   * @param targets how many destinations there are.
   * @param start any whole number: where among the pairs to begin. Two that share a range should
   * not try the same pairs at the same time.
   */
  constructor(ranges: readonly SourceRange[], targets: number, start: number = 0) {
    this.#ranges = ranges;
    this.#firstPairs = firstPairs(ranges);
    this.#shelves = Array.from({ length: targets }, (_, target) =>
      this.#shelf(target, targets, start),
    );
  }

  /** A free pair for this destination, or -1 where none is left. */
  take(target: number): number {
    const shelf = this.#shelves[target]!;
    if (shelf.used < shelf.size) {
      return shelf.firstPair + ((shelf.offset + shelf.used++) % shelf.size);
    }
    if (shelf.queued === 0) return -1;
    const entry = shelf.queue[shelf.head]!;
    shelf.head = (shelf.head + 1) % shelf.size;
    shelf.queued--;
    if (entry >= SKIPPED) shelf.skipped--;
    return entry & (SKIPPED - 1);
  }

  addressOf(pair: number): string {
    return this.#ranges[this.#rangeOf(pair)]!.address;
  }

  portOf(pair: number): number {
    const range = this.#rangeOf(pair);
    return this.#ranges[range]!.firstPort + pair - this.#firstPairs[range]!;
  }

  /** Given back after its connection closed. */
  release(target: number, pair: number): void {
    this.#enqueue(target, pair);
  }

  /**
   * Somebody else has it: EADDRINUSE or EADDRNOTAVAIL. That may be the kernel, for a minute of
   * TIME_WAIT; so it is offered again, once all others have been.
   */
  skip(target: number, pair: number): void {
    this.#enqueue(target, pair + SKIPPED);
    this.#shelves[target]!.skipped++;
  }

  /** Pairs that may be taken, without those that were occupied when they were last tried. */
  free(target: number): number {
    const shelf = this.#shelves[target]!;
    return shelf.size - shelf.used + shelf.queued - shelf.skipped;
  }

  #shelf(target: number, targets: number, start: number): Shelf {
    const fits = this.#ranges.map((range) => range.targets?.includes(target) ?? true);
    const first = fits.indexOf(true);
    const end = fits.lastIndexOf(true) + 1;
    assert(!fits.slice(Math.max(first, 0), end).includes(false), "a target's ranges lie together");
    const firstPair = first === -1 ? 0 : this.#firstPairs[first]!;
    const size = this.#firstPairs[end]! - firstPair;
    return {
      firstPair,
      size,
      offset: Math.floor((size * target) / targets) + (size === 0 ? 0 : start % size),
      used: 0,
      queue: new Uint32Array(size),
      head: 0,
      queued: 0,
      skipped: 0,
    };
  }

  #enqueue(target: number, entry: number): void {
    const shelf = this.#shelves[target]!;
    assert(shelf.queued < shelf.used, "only a pair that was taken is given back");
    shelf.queue[(shelf.head + shelf.queued) % shelf.size] = entry;
    shelf.queued++;
  }

  /** The last range that begins at or before the pair. */
  #rangeOf(pair: number): number {
    let low = 0;
    let high = this.#ranges.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#firstPairs[middle]! <= pair) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function firstPairs(ranges: readonly SourceRange[]): Uint32Array {
  const pairs = new Uint32Array(ranges.length + 1);
  for (const [index, range] of ranges.entries()) {
    assert(range.firstPort <= range.lastPort, "a range has a port");
    pairs[index + 1] = pairs[index]! + portsIn(range);
  }
  assert(pairs.at(-1)! < SKIPPED, "pairs are numbered below the mark");
  return pairs;
}

function portsIn({ firstPort, lastPort }: SourceRange): number {
  return lastPort - firstPort + 1;
}

/**
 * Ports of one address, while addresses last. The kernel looks for conflicts among the connections
 * of an address: 199,000 connects took 3.6 s at 4,000 ports each, and half as many 26 s at 20,000.
 */
const PORTS_PER_ADDRESS = 4_000;
/** Pairs for one connection, so that those in TIME_WAIT need not be used at once. */
const PAIRS_PER_CONNECTION = 4;
/** 127.16.0.0 up to 127.239.255.255: far from 127.0.0.1 and from what listens beside it. */
const LOOPBACK_FIRST = 0x7f10_0000;
const LOOPBACK_SIZE = 224 * 65_536;
/** Of one process, however few ports each has. */
const LOOPBACK_MAX = 16_384;

export interface SourceRequest {
  readonly targets: readonly Target[];
  /** Of {@link expandLocalIps}; none: those of the interface that leads to the target. */
  readonly localIps: readonly string[];
  /** null: the kernel's range for this, without what is reserved. */
  readonly ports: PortRange | null;
  readonly generators: number;
  readonly connectionsPerGenerator: number;
}

/** Targets that the same local addresses fit. */
interface Group {
  /** null: as many of 127.0.0.0/8 as are needed. */
  readonly addresses: readonly string[] | null;
  readonly targets: number[];
  /** Addresses and ports of the targets: the same one twice has no more pairs than once. */
  readonly destinations: Set<string>;
}

/**
 * The ranges of each generator process, none in two of them; null where all targets are Unix
 * sockets, which have no local addresses.
 *
 * Loopback IPv4 takes addresses of 127.0.0.0/8 by itself, every process its own. Elsewhere the
 * first 4,000 ports of every address come first, then the next 4,000 of each. Targets that the same
 * addresses fit share them; a Unix socket among others goes by the first group's pairs, which it
 * does not use. Throws HOLDFAST_OPTIONS_INVALID where no local address fits a target.
 */
export function planSources(
  request: SourceRequest,
  facts: SourceFacts,
): readonly (readonly SourceRange[])[] | null {
  const groups = groupTargets(request, facts);
  if (groups.length === 0) return null;
  const ports = request.ports === null ? facts.ports : [request.ports];
  if (ports.length === 0) {
    throw invalid("--local-ports: all ports are reserved here; name some that may be used");
  }
  const plans = groups.map((group) => planGroup(group, ports, request, facts.base));
  return Array.from({ length: request.generators }, (_, generator) =>
    groups.flatMap(({ targets }, index) => {
      const ranges = plans[index]![generator]!;
      return groups.length === 1 ? ranges : ranges.map((range) => ({ ...range, targets }));
    }),
  );
}

/** Pairs of all processes together to one destination: to the one that has the fewest. */
export function sourceTuples(plan: readonly (readonly SourceRange[])[]): number {
  const toAll: number[] = [];
  const toTarget = new Map<number, number>();
  for (const range of plan.flat()) {
    if (range.targets === undefined) toAll.push(portsIn(range));
    for (const target of range.targets ?? []) {
      toTarget.set(target, (toTarget.get(target) ?? 0) + portsIn(range));
    }
  }
  const shared = toAll.reduce((sum, ports) => sum + ports, 0);
  return shared + (toTarget.size === 0 ? 0 : Math.min(...toTarget.values()));
}

/**
 * `10.0.0.1,10.0.0.8/29,fd00::/126`: addresses and blocks, every address once. Of a block, what
 * means the subnet as a whole is left out: the first and last IPv4 address, the first IPv6 address.
 * Whether this host has them shows when they are used. Throws HOLDFAST_OPTIONS_INVALID, which names
 * the entry, and where there are more than 65,536.
 */
export function expandLocalIps(text: string): readonly string[] {
  const addresses = new Set<string>();
  for (const entry of text.split(",").map((part) => part.trim())) {
    const block = expandBlock(entry);
    if (typeof block === "string") throw invalid(`--local-ips: "${entry}" ${block}`);
    for (const address of block) addresses.add(address);
    if (addresses.size > LOCAL_IPS_MAX) {
      throw invalid(`--local-ips: more than ${LOCAL_IPS_MAX} addresses`);
    }
  }
  return [...addresses];
}

function groupTargets({ targets, localIps }: SourceRequest, facts: SourceFacts): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const [index, target] of targets.entries()) {
    if (isUnix(target)) continue;
    const addresses = localIps.length > 0 ? fitting(localIps, target) : chosen(target, facts);
    const key = addresses?.join() ?? "loopback";
    const group = groups.get(key) ?? { addresses, targets: [], destinations: new Set() };
    groups.set(key, group);
    group.targets.push(index);
    group.destinations.add(`${target.address} ${target.port}`);
  }
  const all = [...groups.values()];
  for (const [index, target] of targets.entries()) {
    if (isUnix(target)) all[0]?.targets.push(index);
  }
  return all;
}

/** A source is of the target's family; a loopback address leads to loopback alone. */
function fitting(localIps: readonly string[], target: Target): readonly string[] {
  const found = localIps.filter(
    (address) =>
      isIP(address) === target.family &&
      (isLoopback(target) || !isLoopback({ ...target, address })),
  );
  if (found.length > 0) return found;
  throw invalid(
    `--local-ips: none of these addresses leads to ${target.text}: it needs one of ` +
      `IPv${target.family}${isLoopback(target) ? "" : ", and no loopback address"}`,
  );
}

function chosen(target: Target, facts: SourceFacts): readonly string[] | null {
  if (isLoopback(target)) return target.family === 4 ? null : ["::1"];
  const egress = facts.egress.get(target.address) ?? [];
  // The kernel chooses the address, and connect() says what is wrong.
  return egress.length > 0 ? egress : [target.family === 4 ? "0.0.0.0" : "::"];
}

/** The ranges of each process. */
function planGroup(
  { addresses, targets, destinations }: Group,
  ports: readonly PortRange[],
  request: SourceRequest,
  base: number,
): readonly (readonly SourceRange[])[] {
  const { generators, connectionsPerGenerator } = request;
  const connections = (connectionsPerGenerator * targets.length) / request.targets.length;
  const wanted = Math.ceil((connections * PAIRS_PER_CONNECTION) / destinations.size);
  const processes = Array.from({ length: generators }, (_, generator) => generator);
  if (addresses === null) {
    return processes.map((generator) => loopbackRanges(generator, wanted, ports, base));
  }
  const layers = inLayers(addresses, ports);
  const start = base % layers.length;
  const all = [...layers.slice(start), ...layers.slice(0, start)].flat();
  const share = Math.min(wanted, Math.floor(countPairs(all) / generators));
  return processes.map((generator) => cut(all, generator * share, share));
}

function loopbackRanges(
  generator: number,
  wanted: number,
  ports: readonly PortRange[],
  base: number,
): readonly SourceRange[] {
  const portsEach = Math.min(PORTS_PER_ADDRESS, countPairs(rangesOf("", ports)));
  const count = Math.min(LOOPBACK_MAX, Math.ceil(wanted / portsEach));
  return Array.from({ length: count }, (_, index) => {
    // Runs begin a /24 block or more apart, which is a million pairs.
    const place = base * 256 + generator * count + index;
    const address = ipv4Text(LOOPBACK_FIRST + (place % LOOPBACK_SIZE));
    return cut(rangesOf(address, ports), 0, PORTS_PER_ADDRESS);
  }).flat();
}

/** The first 4,000 ports of each address, then the next 4,000 of each, and so on. */
function inLayers(
  addresses: readonly string[],
  ports: readonly PortRange[],
): readonly (readonly SourceRange[])[] {
  const layers: (readonly SourceRange[])[] = [];
  const portsEach = countPairs(rangesOf("", ports));
  for (let from = 0; from < portsEach; from += PORTS_PER_ADDRESS) {
    for (const address of addresses) {
      layers.push(cut(rangesOf(address, ports), from, PORTS_PER_ADDRESS));
    }
  }
  return layers;
}

function rangesOf(address: string, ports: readonly PortRange[]): readonly SourceRange[] {
  return ports.map(({ first, last }) => ({ address, firstPort: first, lastPort: last }));
}

/** `count` pairs at most, from the `from`-th on. */
function cut(ranges: readonly SourceRange[], from: number, count: number): readonly SourceRange[] {
  const cutOut: SourceRange[] = [];
  let start = 0;
  for (const range of ranges) {
    const firstPort = range.firstPort + Math.max(0, from - start);
    const lastPort = Math.min(range.lastPort, range.firstPort + (from + count - start) - 1);
    if (start >= from + count) break;
    if (firstPort <= lastPort) cutOut.push({ ...range, firstPort, lastPort });
    start += portsIn(range);
  }
  return cutOut;
}

function countPairs(ranges: readonly SourceRange[]): number {
  return ranges.reduce((sum, range) => sum + portsIn(range), 0);
}

function ipv4Text(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", message);
}

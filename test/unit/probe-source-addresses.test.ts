import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Host } from "../../src/probe/host.ts";
import { readHost } from "../../src/probe/host.ts";
import {
  expandLocalIps,
  planSources,
  SourceAddresses,
  type SourceRange,
  type SourceRequest,
  sourceTuples,
} from "../../src/probe/source-addresses.ts";
import {
  addressesBeside,
  egressAddresses,
  type SourceFacts,
  usablePorts,
} from "../../src/probe/source-facts.ts";
import type { Target } from "../../src/probe/target.ts";

function range(address: string, firstPort: number, lastPort: number): SourceRange {
  return { address, firstPort, lastPort };
}

function target(address: string, port: number = 7_400): Target {
  const family = address.includes(":") ? 6 : 4;
  const text = address === "" ? "unix:/run/s" : `tcp://${family === 6 ? `[${address}]` : address}`;
  const about = { text, isTls: false, isWebSocket: false, host: address, path: "" };
  return { ...about, address, family, port: address === "" ? 0 : port };
}

const FACTS: SourceFacts = {
  base: 0,
  ports: [{ first: 32_768, last: 60_999 }],
  egress: new Map([
    ["10.9.9.9", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]],
    ["10.8.8.8", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]],
    ["192.168.1.1", ["192.168.1.7"]],
    ["fd00::9", ["fd00::2"]],
  ]),
};

function request(targets: readonly Target[], changes: Partial<SourceRequest> = {}): SourceRequest {
  const size = { generators: 2, connectionsPerGenerator: 1_000 };
  return { targets, localIps: [], ports: null, ...size, ...changes };
}

function plan(asked: SourceRequest, facts: SourceFacts = FACTS): (readonly SourceRange[])[] {
  return [...planSources(asked, facts)!];
}

function portsIn(ranges: readonly SourceRange[]): number {
  return ranges.reduce((sum, { firstPort, lastPort }) => sum + lastPort - firstPort + 1, 0);
}

function takeAll(sources: SourceAddresses, destination: number): string[] {
  const taken: string[] = [];
  for (let pair = sources.take(destination); pair !== -1; pair = sources.take(destination)) {
    taken.push(`${sources.addressOf(pair)}:${sources.portOf(pair)}`);
  }
  return taken;
}

describe("a pair of local address and port", () => {
  it("is taken once by each destination, and by every destination", () => {
    const sources = new SourceAddresses([range("a", 10, 12), range("b", 7, 7)], 2);
    const all = ["a:10", "a:11", "a:12", "b:7"];
    expect(takeAll(sources, 0).toSorted()).toEqual(all);
    expect(takeAll(sources, 1).toSorted()).toEqual(all);
    expect(sources.take(0)).toBe(-1);
  });

  it("is not the same one at first for two destinations", () => {
    const sources = new SourceAddresses([range("a", 1, 100)], 4);
    const first = [0, 1, 2, 3].map((destination) => sources.portOf(sources.take(destination)));
    expect(first).toEqual([1, 26, 51, 76]);
  });

  it("that came back is offered after all that never were, in the order of return", () => {
    const sources = new SourceAddresses([range("a", 0, 4)], 1);
    const [first, second, third] = [sources.take(0), sources.take(0), sources.take(0)];
    sources.release(0, second);
    sources.release(0, first);
    sources.release(0, third);
    expect(takeAll(sources, 0)).toEqual(["a:3", "a:4", "a:1", "a:0", "a:2"]);
  });

  it("that somebody else had is offered again, when all others have been", () => {
    const sources = new SourceAddresses([range("a", 0, 2)], 1);
    sources.skip(0, sources.take(0));
    expect(takeAll(sources, 0)).toEqual(["a:1", "a:2", "a:0"]);
    expect(sources.take(0)).toBe(-1);
  });

  it("that somebody else has for good is offered for ever, so that the caller must give up", () => {
    const sources = new SourceAddresses([range("a", 5, 5)], 1);
    for (let tries = 0; tries < 10; tries++) {
      const pair = sources.take(0);
      expect(sources.portOf(pair)).toBe(5);
      sources.skip(0, pair);
    }
  });

  it("is free until it is taken, and not while somebody else has it", () => {
    const sources = new SourceAddresses([range("a", 0, 9)], 2);
    expect(sources.free(0)).toBe(10);
    const [first, second] = [sources.take(0), sources.take(0)];
    expect(sources.free(0)).toBe(8);
    sources.skip(0, first);
    expect(sources.free(0)).toBe(8);
    sources.release(0, second);
    expect(sources.free(0)).toBe(9);
    expect(sources.free(1)).toBe(10);
    expect(takeAll(sources, 0)).toHaveLength(10);
    expect(sources.free(0)).toBe(0);
  });

  it("cannot be given back before it was taken", () => {
    const sources = new SourceAddresses([range("a", 0, 9)], 2);
    sources.release(0, sources.take(0));
    expect(() => sources.release(0, 0)).toThrow("only a pair that was taken");
    expect(() => sources.skip(1, 3)).toThrow("only a pair that was taken");
  });

  it("is not there at all where there are no ranges", () => {
    const sources = new SourceAddresses([], 1);
    expect(sources.take(0)).toBe(-1);
    expect(sources.free(0)).toBe(0);
  });

  it("is only offered to the targets that its range is for", () => {
    const ranges = [
      { ...range("a", 1, 2), targets: [0, 2] },
      { ...range("b", 3, 3), targets: [1] },
    ];
    const sources = new SourceAddresses(ranges, 4);
    expect(takeAll(sources, 0).toSorted()).toEqual(["a:1", "a:2"]);
    expect(takeAll(sources, 1)).toEqual(["b:3"]);
    expect(takeAll(sources, 2).toSorted()).toEqual(["a:1", "a:2"]);
    expect(takeAll(sources, 3)).toEqual([]);
  });

  it("has one holder per destination whatever is taken, given back and skipped", () => {
    const move = fc.record({
      destination: fc.integer({ min: 0, max: 1 }),
      what: fc.constantFrom("take", "take", "release", "skip"),
      which: fc.nat(),
    });
    const sizes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(sizes, fc.array(move, { maxLength: 120 }), (ports, moves) => {
        const ranges = ports.map((count, index) => range(`${index}`, 1, count));
        const sources = new SourceAddresses(ranges, 2);
        const held: number[][] = [[], []];
        const total = portsIn(ranges);
        for (const { destination, what, which } of moves) {
          const mine = held[destination]!;
          if (what === "take") {
            const pair = sources.take(destination);
            expect(pair === -1).toBe(mine.length === total);
            expect(mine).not.toContain(pair);
            if (pair !== -1) mine.push(pair);
          } else if (mine.length > 0) {
            const [pair] = mine.splice(which % mine.length, 1);
            sources[what](destination, pair!);
          }
        }
      }),
    );
  });
});

describe("a plan on loopback", () => {
  it("gives every process its own addresses, of 4,000 ports, and four pairs a connection", () => {
    const asked = request([target("127.0.0.1")], { connectionsPerGenerator: 19_000 });
    const [first, second] = plan(asked) as [SourceRange[], SourceRange[]];
    expect(first).toHaveLength(19);
    expect(first[0]).toEqual(range("127.16.0.0", 32_768, 36_767));
    expect(second[0]).toEqual(range("127.16.0.19", 32_768, 36_767));
    expect(sourceTuples([first, second])).toBe(2 * 76_000);
  });

  it("stays in 127.16.0.0 to 127.239.255.255, with no address twice, whatever its base", () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 40 }), (base, generators) => {
        const asked = request([target("127.0.0.1")], { generators });
        const ranges = plan(asked, { ...FACTS, base }).flat();
        expect(new Set(ranges.map(({ address }) => address)).size).toBe(ranges.length);
        for (const { address } of ranges) {
          const [a, b, c, d] = address.split(".").map(Number) as [number, number, number, number];
          expect([a, b >= 16 && b < 240, c < 256, d < 256]).toEqual([127, true, true, true]);
        }
      }),
    );
  });

  it("needs fewer pairs the more destinations there are, each counted once", () => {
    const [one, other] = [target("127.0.0.1", 1), target("127.0.0.1", 2)];
    const tuplesTo = (targets: readonly Target[]): number =>
      sourceTuples(plan(request(targets, { connectionsPerGenerator: 8_000, generators: 1 })));
    expect(tuplesTo([one])).toBe(32_000);
    expect(tuplesTo([one, other])).toBe(16_000);
    expect(tuplesTo([one, one])).toBe(32_000);
  });

  it("takes all of a small range of ports, and more addresses", () => {
    const asked = request([target("127.0.0.1")], { ports: { first: 50_000, last: 50_099 } });
    const [first] = plan(asked);
    expect(first).toHaveLength(40);
    expect(first!.every(({ firstPort }) => firstPort === 50_000)).toBe(true);
    expect(portsIn(first!)).toBe(4_000);
  });

  it("goes round reserved ports", () => {
    const ports = [range("", 100, 101), range("", 200, 9_000)].map((one) => ({
      first: one.firstPort,
      last: one.lastPort,
    }));
    const asked = request([target("127.0.0.1")], { generators: 1 });
    const [ranges] = plan(asked, { ...FACTS, ports });
    expect(ranges).toEqual([range("127.16.0.0", 100, 101), range("127.16.0.0", 200, 4_197)]);
  });

  it("shares the one address of IPv6 among the processes", () => {
    const asked = request([target("::1")], { generators: 3, connectionsPerGenerator: 9_000 });
    const ranges = plan(asked).flat();
    const ports = ranges.flatMap(({ firstPort, lastPort }) =>
      Array.from({ length: lastPort - firstPort + 1 }, (_, index) => firstPort + index),
    );
    expect(ranges.every(({ address }) => address === "::1")).toBe(true);
    expect(new Set(ports).size).toBe(ports.length);
    expect(ports.length).toBe(3 * Math.floor(28_232 / 3));
  });
});

describe("a plan elsewhere", () => {
  it("fills every address to 4,000 ports before it takes more of any", () => {
    const asked = request([target("10.9.9.9")], { connectionsPerGenerator: 5_000, generators: 1 });
    expect(plan(asked)[0]).toEqual([
      range("10.0.0.1", 32_768, 36_767),
      range("10.0.0.2", 32_768, 36_767),
      range("10.0.0.3", 32_768, 36_767),
      range("10.0.0.1", 36_768, 40_767),
      range("10.0.0.2", 36_768, 40_767),
    ]);
  });

  it("begins elsewhere with another base, and takes nothing twice", () => {
    const asked = request([target("192.168.1.1")], { generators: 1 });
    expect(plan(asked, { ...FACTS, base: 3 })[0]).toEqual([range("192.168.1.7", 44_768, 48_767)]);
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 60_000 }),
        (base, generators, connectionsPerGenerator) => {
          const one = request([target("10.9.9.9")], { generators, connectionsPerGenerator });
          const ranges = plan(one, { ...FACTS, base })
            .flat()
            .toSorted((a, b) => a.address.localeCompare(b.address) || a.firstPort - b.firstPort);
          for (const [index, { address, firstPort }] of ranges.entries()) {
            const before = ranges[index - 1];
            if (before?.address === address) expect(before.lastPort).toBeLessThan(firstPort);
          }
          const wanted = generators * connectionsPerGenerator * 4;
          const possible = Math.floor((3 * 28_232) / generators) * generators;
          expect(portsIn(ranges)).toBe(Math.min(wanted, possible));
        },
      ),
    );
  });

  it("takes the addresses and ports that it is told", () => {
    const asked = request([target("10.9.9.9"), target("127.0.0.1")], {
      localIps: ["10.1.0.1", "10.1.0.2"],
      ports: { first: 1_024, last: 1_523 },
      generators: 1,
    });
    expect(plan(asked)[0]).toEqual([
      range("10.1.0.1", 1_024, 1_523),
      range("10.1.0.2", 1_024, 1_523),
    ]);
  });

  it("leaves the address to the kernel where no route is known", () => {
    const asked = request([target("203.0.113.1"), target("2001:db8::1")], { generators: 1 });
    const addresses = plan(asked)[0]!.map(({ address }) => address);
    expect(new Set(addresses)).toEqual(new Set(["0.0.0.0", "::"]));
  });

  it("has no pairs for more processes than there are ports", () => {
    const ports = { first: 2_000, last: 2_001 };
    const ranges = plan(request([target("192.168.1.1")], { ports, generators: 3 }));
    expect(ranges).toEqual([[], [], []]);
    expect(sourceTuples(ranges)).toBe(0);
  });

  it("refuses to begin where every port is reserved", () => {
    const asked = request([target("127.0.0.1")]);
    expect(() => planSources(asked, { ...FACTS, ports: [] })).toThrow(/all ports are reserved/);
  });
});

describe("a plan for unlike targets", () => {
  const mixed = [target("127.0.0.1"), target("10.9.9.9"), target("fd00::9"), target("10.8.8.8")];

  it("keeps the addresses that fit each target together", () => {
    const asked = request(mixed, { generators: 1 });
    const ranges = plan(asked)[0]!;
    const sources = new SourceAddresses(ranges, mixed.length);
    const addressesTo = (destination: number): Set<string> =>
      new Set(takeAll(sources, destination).map((pair) => pair.replace(/:\d+$/, "")));
    expect(addressesTo(0)).toEqual(new Set(["127.16.0.0"]));
    expect(addressesTo(1)).toEqual(new Set(["10.0.0.1"]));
    expect(addressesTo(2)).toEqual(new Set(["fd00::2"]));
    expect(addressesTo(3)).toEqual(new Set(["10.0.0.1"]));
  });

  it("is as large as its smallest part", () => {
    // 250 connections to each: the loopback address has all its 4,000 ports, the others 1,000.
    expect(sourceTuples(plan(request(mixed, { generators: 1 })))).toBe(1_000);
  });

  it("has pairs for Unix sockets beside others, and nothing for Unix sockets alone", () => {
    const unix = target("");
    expect(planSources(request([unix, unix]), FACTS)).toBeNull();
    const ranges = plan(request([unix, ...mixed], { generators: 1 }))[0]!;
    expect(new SourceAddresses(ranges, 5).take(0)).not.toBe(-1);
    expect(planSources(request([unix, mixed[0]!]), FACTS)![0]![0]).not.toHaveProperty("targets");
  });

  it.each([
    ["10.9.9.9", ["fd00::1"], "IPv4, and no loopback address"],
    ["10.9.9.9", ["127.0.0.5"], "IPv4, and no loopback address"],
    ["fd00::9", ["10.0.0.1", "::1"], "IPv6, and no loopback address"],
    ["127.0.0.1", ["::1"], "IPv4"],
    ["::1", ["127.0.0.1"], "IPv6"],
  ])("refuses to reach %s from %j", (address, localIps, needed) => {
    const asked = request([target(address)], { localIps });
    expect(() => planSources(asked, FACTS)).toThrow(`it needs one of ${needed}`);
  });
});

describe("a list of local addresses", () => {
  it.each([
    ["10.0.0.1", ["10.0.0.1"]],
    ["10.0.0.1, 10.0.0.3", ["10.0.0.1", "10.0.0.3"]],
    ["10.0.0.9/29", [9, 10, 11, 12, 13, 14].map((last) => `10.0.0.${last}`)],
    ["10.0.0.8/31", ["10.0.0.8", "10.0.0.9"]],
    ["10.0.0.8/32", ["10.0.0.8"]],
    ["10.0.0.1,10.0.0.0/30,10.0.0.2", ["10.0.0.1", "10.0.0.2"]],
    ["255.255.255.252/30", ["255.255.255.253", "255.255.255.254"]],
    ["fd00::/126", ["fd00::1", "fd00::2", "fd00::3"]],
    ["fd00::fffe/127", ["fd00::fffe", "fd00::ffff"]],
    ["FD00:0:0::1,fd00::1/128", ["fd00::1"]],
    ["::ffff:10.0.0.1", ["::ffff:a00:1"]],
    ["1:2:3:4:5:6:7:8/128", ["1:2:3:4:5:6:7:8"]],
  ])("%s is %j", (text, addresses) => {
    expect(expandLocalIps(text)).toEqual(addresses);
  });

  it("may have 65,534 addresses of one block", () => {
    const addresses = expandLocalIps("10.5.0.0/16");
    expect([addresses.length, addresses[0], addresses.at(-1)]).toEqual([
      65_534,
      "10.5.0.1",
      "10.5.255.254",
    ]);
    expect(expandLocalIps("fd00::/112").length).toBe(65_535);
  });

  it.each([
    ["", /^--local-ips: "" is no IP address and no block/],
    ["10.0.0.1,", /"" is no IP address/],
    ["10.0.0.300", /"10.0.0.300" is no IP address and no block such as/],
    ["010.0.0.1", /is no IP address/],
    ["10.0.0", /is no IP address/],
    ["localhost", /is no IP address/],
    ["10.0.0.1-10.0.0.9", /is no IP address/],
    ["fe80::1%eth0", /is no IP address/],
    ["fe80::1%eth0/64", /is no IP address/],
    ["10.0.0.1/8/8", /is no IP address/],
    ["/24", /is no IP address/],
    ["10.0.0.0/33", /has no prefix of 0 to 32 bits/],
    ["10.0.0.0/", /has no prefix/],
    ["10.0.0.0/-1", /has no prefix/],
    ["10.0.0.0/2a", /has no prefix/],
    ["fd00::/129", /has no prefix of 0 to 128 bits/],
    ["10.0.0.0/15", /has more than 65536 addresses: its prefix must be 16 bits or more/],
    ["0.0.0.0/0", /has more than 65536 addresses/],
    ["fd00::/64", /its prefix must be 112 bits or more/],
    ["10.0.0.0/16,10.1.0.0/24", /more than 65536 addresses/],
  ])("%j is refused", (text, message) => {
    expect(() => expandLocalIps(text)).toThrow(message);
  });
});

describe("the ports that the kernel would choose from", () => {
  const first = 32_768;
  const last = 60_999;
  it.each([
    [[], [[first, last]]],
    [[[8_080, 8_080]], [[first, last]]],
    [
      [[40_000, 40_000]],
      [
        [first, 39_999],
        [40_001, last],
      ],
    ],
    [
      [
        [30_000, 33_000],
        [60_000, 65_535],
      ],
      [[33_001, 59_999]],
    ],
    [
      [
        [50_000, 50_009],
        [40_000, 40_009],
      ],
      [
        [first, 39_999],
        [40_010, 49_999],
        [50_010, last],
      ],
    ],
    [[[1, 65_535]], []],
  ])("are all but the reserved ones: %j leaves %j", (reserved, left) => {
    const reservedPorts = reserved.map(([from, to]) => ({ first: from!, last: to! }));
    const host: Host = { ...readHost(), portRange: { first, last }, reservedPorts };
    expect(usablePorts(host)).toEqual(left.map(([from, to]) => ({ first: from, last: to })));
  });

  it("are Linux's own where it does not say", () => {
    expect(usablePorts({ ...readHost(), portRange: null, reservedPorts: [] })).toEqual([
      { first, last },
    ]);
  });
});

describe("the addresses that lead to a target", () => {
  const entry = { netmask: "", mac: "", internal: false, cidr: null };
  const four = (address: string) => ({ ...entry, address, family: "IPv4" as const });
  const six = (address: string, scopeid = 0) => ({
    ...entry,
    address,
    family: "IPv6" as const,
    scopeid,
  });
  const interfaces = {
    lo: [four("127.0.0.1"), six("::1"), four("10.5.5.5"), four("10.5.5.6")],
    eth0: [four("10.0.0.1"), six("fd00::2"), four("10.0.0.2"), six("fe80::1", 4), six("fd00::3")],
    eth1: [four("10.0.1.1")],
  };

  it.each([
    ["10.0.0.2", ["10.0.0.2", "10.0.0.1"]],
    ["10.0.1.1", ["10.0.1.1"]],
    ["fd00::2", ["fd00::2", "fd00::3"]],
    ["10.5.5.6", ["10.5.5.6", "10.5.5.5"]],
    ["172.16.0.1", ["172.16.0.1"]],
  ])("beside %s are %j", (address, expected) => {
    expect(addressesBeside(address, interfaces)).toEqual(expected);
  });

  it("are none where the route cannot be looked up", async () => {
    expect(await egressAddresses({ ...target("10.0.0.1"), address: "::1", family: 4 })).toEqual([]);
  });
});

import { expect } from "vitest";
import { WRITE } from "../../src/transport/transport.ts";
import { type ContractTests, giveBack, pass, pattern, until } from "../support/transport-bench.ts";

export const WRITING: ContractTests = {
  "what the peer has room for is sent at once: nothing is queued and no drain follows": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      expect(bench.write(channel, "hello")).toBe(WRITE.SENT);
      expect([bench.transport.queued[channel], bench.transport.queuedNow(channel)]).toEqual([0, 0]);
      await until(() => peer.received.toString() === "hello", "it comes");
      await pass(20);
      expect(bench.handler.drains).toBe(0);
    },
  },

  "only the part of the slab between start and end is sent": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      const slab = bench.slab("before|this|after");
      expect(bench.transport.write(channel, slab, 7, 11)).toBe(WRITE.SENT);
      giveBack(slab);
      await until(() => peer.receivedBytes >= 4, "it comes");
      expect(peer.received.toString()).toBe("this");
    },
  },

  "slices of several slabs are sent in order, a slab that stands in several of them too": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      const [a, b, big] = [bench.slab("AaA"), bench.slab("Bb"), bench.slab(pattern(0, 60_000))];
      const slices = [
        { slab: a, start: 0, end: 1 },
        { slab: b, start: 0, end: 2 },
        { slab: a, start: 1, end: 2 },
        { slab: big, start: 0, end: 60_000 },
        { slab: b, start: 1, end: 2 },
      ];
      expect(bench.transport.writev(channel, slices)).toBe(WRITE.SENT);
      for (const slab of [a, b, big]) giveBack(slab);
      await until(() => peer.receivedBytes === 60_005, "all of it comes");
      expect(peer.received.subarray(0, 4).toString()).toBe("ABba");
      expect(peer.received.subarray(4, 60_004).equals(pattern(0, 60_000))).toBe(true);
      expect(peer.received.subarray(60_004).toString()).toBe("b");
    },
  },

  "one slice alone is sent like a write": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      const slab = bench.slab("xonex");
      expect(bench.transport.writev(channel, [{ slab, start: 1, end: 4 }])).toBe(WRITE.SENT);
      giveBack(slab);
      await until(() => peer.received.toString() === "one", "it comes");
    },
  },

  "what a peer does not take is queued, and how much that is can be read at any time": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      const queued = bench.transport.queued[channel]!;
      expect(queued).toBeGreaterThan(0);
      expect(queued).toBeLessThanOrEqual(written);
      const now = bench.transport.queuedNow(channel);
      expect(now).toBeGreaterThan(0);
      expect(now).toBeLessThanOrEqual(queued);
      await pass();
      expect(bench.handler.drains).toBe(0);
      expect(bench.transport.queued[channel]).toBeGreaterThan(0);
    },
  },

  "a queue that has emptied is told by one drain, reads 0 then, and every byte has come": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      const atDrain: number[] = [];
      bench.handler.on.onDrain = () => atDrain.push(bench.transport.queued[channel]!);
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      peer.setReading(true);
      await until(() => bench.handler.drains > 0, "the drain comes");
      await until(() => peer.receivedBytes === written, "all bytes come");
      await pass(20);
      expect(atDrain).toEqual([0]);
      expect(bench.transport.queuedNow(channel)).toBe(0);
      expect(peer.received.equals(pattern(0, written))).toBe(true);
      expect(bench.pool.leased).toBe(0);
    },
  },

  "a drain is for writing again: round after round, in order": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      let written = 0;
      bench.handler.on.onDrain = () => {
        if (bench.handler.drains >= 4) return;
        for (let outcome: number = WRITE.SENT; outcome === WRITE.SENT; written += 65_536) {
          outcome = bench.write(channel, pattern(written, 65_536));
        }
      };
      peer.setReading(false);
      written += bench.writeUntilQueued(channel).written;
      peer.setReading(true);
      await until(() => bench.handler.drains >= 4, "four drains come");
      await until(() => peer.receivedBytes === written, "all bytes come");
      expect(peer.received.equals(pattern(0, written))).toBe(true);
    },
  },

  "a control frame is taken although something is queued, and comes behind it": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      // The kernel may have found room for all of it just now.
      expect(bench.write(channel, "control")).not.toBe(WRITE.REFUSED);
      peer.setReading(true);
      await until(() => peer.receivedBytes === written + 7, "all bytes come");
      expect(peer.received.subarray(written).toString()).toBe("control");
      await until(() => bench.transport.queued[channel] === 0, "nothing is queued");
      expect(bench.handler.drains).toBe(1);
    },
  },

  "slices that are queued keep their order and their slabs until they are sent": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      const slabs = [0, 10_000, 20_000].map((at) => bench.slab(pattern(written + at, 10_000)));
      const slices = slabs.map((slab) => ({ slab, start: 0, end: 10_000 }));
      expect(bench.transport.writev(channel, slices)).toBe(WRITE.QUEUED);
      for (const slab of slabs) giveBack(slab);
      peer.setReading(true);
      await until(() => peer.receivedBytes === written + 30_000, "all bytes come");
      expect(peer.received.equals(pattern(0, written + 30_000))).toBe(true);
      await until(() => bench.pool.leased === 0, "the slabs are released");
    },
  },

  "a peer that does not read holds nobody else up": {
    async run(bench) {
      const slow = await bench.connect();
      const quick = await bench.connect();
      slow.peer.setReading(false);
      bench.writeUntilQueued(slow.channel);
      expect(bench.write(quick.channel, "at once")).toBe(WRITE.SENT);
      await until(() => quick.peer.received.toString() === "at once", "the other one gets his");
      expect(bench.transport.queued[quick.channel]).toBe(0);
      quick.peer.send(Buffer.from("and back"));
      await until(() => bench.handler.receivedBytes(quick.channel) === 8, "and is heard");
    },
  },

  "what is queued for a peer that resets is let go": {
    needs: ({ traits }) => traits.hasReset,
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      bench.writeUntilQueued(channel);
      peer.reset();
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      await until(() => bench.pool.leased === 0, "its slabs are released");
      expect(bench.transport.queued[channel]).toBe(0);
      expect(bench.handler.drains).toBe(0);
    },
  },
};

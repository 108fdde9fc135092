import { expect } from "vitest";
import { WRITE } from "../../src/transport/transport.ts";
import { type ContractTests, pass, pattern, until } from "../support/transport-bench.ts";

export const CLOSING: ContractTests = {
  "close ends the connection in order, and both sides learn of it once": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.write(channel, "last words");
      bench.transport.close(channel, 3000, "shutdown");
      await until(() => peer.ended !== null, "the peer is told");
      expect(peer.received.toString()).toBe("last words");
      expect(peer.ended!.wasReset).toBe(false);
      if (bench.harness.traits.hasCloseCodes) expect(peer.ended!.code).toBe(3000);
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      await pass(20);
      expect(bench.handler.closed).toMatchObject([{ channel, end: "closed" }]);
    },
  },

  "close lets what is queued go first": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      bench.transport.close(channel, 3001, "idle_timeout");
      await pass();
      expect(bench.handler.isOpen(channel)).toBe(true);
      peer.setReading(true);
      await until(() => peer.ended !== null, "the peer is told");
      expect(peer.receivedBytes).toBe(written);
      expect(peer.received.equals(pattern(0, written))).toBe(true);
      if (bench.harness.traits.hasCloseCodes) expect(peer.ended!.code).toBe(3001);
      await until(() => bench.pool.leased === 0, "every slab is released");
    },
  },

  "nothing is taken after close": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.transport.close(channel, 1000, "");
      expect(bench.write(channel, "too late")).toBe(WRITE.REFUSED);
      await until(() => peer.ended !== null, "the peer is told");
      expect(peer.receivedBytes).toBe(0);
    },
  },

  "nothing is taken after close, while what was queued before is still going": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      bench.transport.close(channel, 1000, "");
      expect(bench.write(channel, "too late")).toBe(WRITE.REFUSED);
      const slab = bench.slab("too late");
      expect(bench.transport.writev(channel, [{ slab, start: 0, end: 8 }])).toBe(WRITE.REFUSED);
      slab.release();
      peer.setReading(true);
      await until(() => peer.ended !== null, "the peer is told");
      expect(peer.receivedBytes).toBe(written);
    },
  },

  "the first of several closes counts": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      for (const code of [3002, 3003, 1000]) bench.transport.close(channel, code, "");
      await until(() => peer.ended !== null, "the peer is told");
      if (bench.harness.traits.hasCloseCodes) expect(peer.ended!.code).toBe(3002);
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.closed.length).toBe(1);
    },
  },

  "a paused connection can be closed: the peer's end is still heard": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.transport.pause(channel);
      peer.send(pattern(0, 100_000));
      await pass(20);
      bench.transport.close(channel, 1000, "");
      await until(() => peer.ended !== null, "the peer is told");
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.endOf(channel)).toBe("closed");
    },
  },

  "close from inside a chunk ends the connection after the chunk": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.handler.on.onChunk = () => {
        bench.write(channel, "answer");
        bench.transport.close(channel, 3500, "protocol_error");
      };
      peer.send(Buffer.from("question"));
      await until(() => peer.ended !== null, "the peer is told");
      expect(peer.received.toString()).toBe("answer");
      await until(() => !bench.handler.isOpen(channel), "it is closed");
    },
  },

  "reset from inside a chunk is the last that is heard of the connection": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.handler.on.onChunk = () => bench.transport.reset(channel);
      for (let at = 0; at < 300_000; at += 10_000) peer.send(pattern(at, 10_000));
      await until(() => peer.ended !== null, "the peer is told");
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.chunks(channel).length).toBe(1);
    },
  },

  "another connection may be closed from inside a chunk": {
    async run(bench) {
      const one = await bench.connect();
      const other = await bench.connect();
      bench.handler.on.onChunk = () => bench.transport.close(other.channel, 3505, "replaced");
      one.peer.send(Buffer.from("x"));
      await until(() => other.peer.ended !== null, "the other is told");
      await until(() => !bench.handler.isOpen(other.channel), "the other is closed");
      expect(bench.handler.isOpen(one.channel)).toBe(true);
    },
  },

  "another connection that has bytes waiting may be reset from inside a chunk": {
    async run(bench) {
      const all = [await bench.connect(), await bench.connect(), await bench.connect()];
      let first: number | null = null;
      bench.handler.on.onChunk = (channel) => {
        if (first !== null) return;
        first = channel;
        for (const other of all)
          if (other.channel !== channel) bench.transport.reset(other.channel);
      };
      for (const { peer } of all) peer.send(Buffer.from("x"));
      await until(() => bench.handler.closed.length === 2, "the two others are closed");
      await pass(20);
      expect(bench.handler.isOpen(first!)).toBe(true);
      for (const { channel } of all) {
        if (channel !== first) expect(bench.handler.chunks(channel)).toEqual([]);
      }
    },
  },

  "a connection may be closed and written to from inside onDrain": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.handler.on.onDrain = () => {
        bench.write(channel, "bye");
        bench.transport.close(channel, 1000, "");
      };
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      peer.setReading(true);
      await until(() => peer.ended !== null, "the peer is told");
      expect(peer.receivedBytes).toBe(written + 3);
      expect(peer.received.subarray(written).toString()).toBe("bye");
    },
  },

  "other connections may be closed and reset from inside onClose": {
    async run(bench) {
      const all = [await bench.connect(), await bench.connect(), await bench.connect()];
      bench.handler.on.onClose = (channel) => {
        const [next, after] = all
          .map((other) => other.channel)
          .filter((other) => other !== channel);
        bench.transport.close(next!, 1000, "");
        bench.transport.reset(after!);
        bench.transport.reset(channel);
      };
      bench.transport.reset(all[0]!.channel);
      await until(() => bench.handler.closed.length === 3, "all are closed");
    },
  },

  "reset ends it at once, though the peer takes nothing, and what is queued is lost": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      bench.transport.reset(channel);
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      await until(() => bench.pool.leased === 0, "every slab is released");
      expect(bench.handler.drains).toBe(0);
      peer.setReading(true);
      await until(() => peer.ended !== null, "the peer is told");
      expect(peer.receivedBytes).toBeLessThan(written);
    },
  },

  "reset while closing ends the wait for the peer": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      bench.writeUntilQueued(channel);
      bench.transport.close(channel, 1000, "");
      bench.transport.reset(channel);
      bench.transport.reset(channel);
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.closed.length).toBe(1);
    },
  },

  "a peer that half-closed and is closed while something is queued gets all of it": {
    needs: ({ traits }) => traits.hasHalfClose,
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.setReading(false);
      const { written } = bench.writeUntilQueued(channel);
      peer.end();
      await until(() => bench.handler.hasEnded(channel), "the end is told");
      bench.transport.close(channel, 1000, "");
      peer.setReading(true);
      await until(() => peer.ended !== null, "the peer is done");
      expect(peer.receivedBytes).toBe(written);
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.endOf(channel)).toBe("closed");
    },
  },
};

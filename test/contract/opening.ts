import { expect } from "vitest";
import { WRITE } from "../../src/transport/transport.ts";
import { type ContractTests, pass, until } from "../support/transport-bench.ts";

export const OPENING: ContractTests = {
  "a connection is told to the handler once, before anything else of it": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      expect(bench.handler.opened).toEqual([channel]);
      peer.send(Buffer.from("x"));
      await until(() => bench.handler.chunks(channel).length > 0, "the chunk comes");
      expect(bench.handler.opened).toEqual([channel]);
    },
  },

  "channels are small numbers from 0 on, and no two open ones are the same": {
    async run(bench) {
      const channels: number[] = [];
      for (let count = 0; count < 5; count++) channels.push((await bench.connect()).channel);
      expect([...channels].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4]);
    },
  },

  "a channel is used again after its connection has closed, and begins empty": {
    async run(bench) {
      const first = await bench.connect();
      const other = await bench.connect();
      first.peer.send(Buffer.from("old"));
      await until(() => bench.handler.receivedBytes(first.channel) === 3, "the bytes come");
      bench.transport.close(first.channel, 1000, "");
      first.peer.end();
      await until(() => !bench.handler.isOpen(first.channel), "the first is closed");
      const second = await bench.connect();
      expect(second.channel).toBe(first.channel);
      expect(bench.transport.queued[second.channel]).toBe(0);
      second.peer.send(Buffer.from("new"));
      await until(() => bench.handler.receivedBytes(second.channel) === 3, "the bytes come");
      expect(bench.handler.received(second.channel).toString()).toBe("new");
      expect(bench.write(second.channel, "for the second")).toBe(WRITE.SENT);
      await until(() => second.peer.receivedBytes === 14, "the answer comes");
      expect([first.peer.receivedBytes, other.peer.receivedBytes]).toEqual([0, 0]);
    },
  },

  "a channel that is not open takes every call and does nothing": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.end();
      bench.transport.close(channel, 1000, "");
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      for (const gone of [channel, 63, 1_000_000]) {
        expect(bench.write(gone, "x")).toBe(WRITE.REFUSED);
        const slab = bench.slab("x");
        expect(bench.transport.writev(gone, [{ slab, start: 0, end: 1 }])).toBe(WRITE.REFUSED);
        expect(slab.holders).toBe(1);
        slab.release();
        expect(bench.transport.queuedNow(gone)).toBe(0);
        expect(bench.transport.queued[gone] ?? 0).toBe(0);
        expect(bench.transport.remoteAddress(gone)).toBe("");
        bench.transport.pause(gone);
        bench.transport.resume(gone);
        bench.transport.close(gone, 1000, "");
        bench.transport.reset(gone);
      }
      await pass();
      expect(bench.handler.closed.length).toBe(1);
    },
  },

  "more connections than the table was made for are all served": {
    async run(bench) {
      const all: Awaited<ReturnType<typeof bench.connect>>[] = [];
      for (let count = 0; count < 70; count++) all.push(await bench.connect());
      for (const { channel } of all) expect(bench.write(channel, `n${channel}`)).toBe(WRITE.SENT);
      for (const { peer, channel } of all) {
        await until(() => peer.received.toString() === `n${channel}`, `${channel} is told`);
        expect(bench.transport.queued[channel]).toBe(0);
      }
    },
  },

  "a connection that is not admitted is cut off, and the handler hears no more of it": {
    async run(bench) {
      bench.handler.isAdmitting = false;
      await bench.expectNoConnection();
      expect(bench.handler.refused).toBeGreaterThan(0);
      bench.handler.isAdmitting = true;
      await bench.connect();
      expect(bench.handler.opened.length).toBe(1);
      await until(() => bench.transport.pendingFiles === 0, "no file is pending");
    },
  },

  "a connection's address is that of its peer while it is open": {
    needs: ({ traits }) => traits.hasRemoteAddress,
    async run(bench) {
      const { channel } = await bench.connect();
      expect(bench.transport.remoteAddress(channel)).toMatch(/^(127\.0\.0\.1|memory)(:\d+)?$/);
    },
  },

  "bytes may be written from inside onOpen": {
    async run(bench) {
      bench.handler.on.onOpen = (channel) => void bench.write(channel, "hello");
      const { peer } = await bench.connect();
      await until(() => peer.received.toString() === "hello", "the greeting comes");
    },
  },

  "a connection may be closed from inside onOpen": {
    async run(bench) {
      bench.handler.on.onOpen = (channel) => bench.transport.close(channel, 3000, "");
      const { peer, channel } = await bench.connect();
      await until(() => peer.ended !== null, "the peer is told");
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.endOf(channel)).toBe("closed");
    },
  },

  "a connection may be reset from inside onOpen": {
    async run(bench) {
      bench.handler.on.onOpen = (channel) => bench.transport.reset(channel);
      await bench.connect().catch(() => null);
      await until(() => bench.handler.closed.length === 1, "it is closed");
      expect(bench.handler.chunks(bench.handler.opened[0]!)).toEqual([]);
    },
  },
};

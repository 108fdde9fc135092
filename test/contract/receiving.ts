import { expect } from "vitest";
import type { Bytes } from "../../src/base/buffer-pool.ts";
import { type ContractTests, pass, pattern, until } from "../support/transport-bench.ts";

export const RECEIVING: ContractTests = {
  "bytes come in order and complete, however they were sent": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      let sent = 0;
      for (const length of [1, 2, 3, 1_000, 65_535, 65_536, 65_537, 1, 400_000]) {
        peer.send(pattern(sent, length));
        sent += length;
      }
      await until(() => bench.handler.receivedBytes(channel) === sent, "all bytes come");
      expect(bench.handler.received(channel).equals(pattern(0, sent))).toBe(true);
    },
  },

  "every chunk is one message where the transport has messages": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      const messages = ["a", "bb", "c".repeat(70_000), "d"].map((text) => Buffer.from(text));
      for (const message of messages) peer.send(message);
      const total = messages.reduce((sum, { length }) => sum + length, 0);
      await until(() => bench.handler.receivedBytes(channel) === total, "all bytes come");
      if (bench.transport.hasMessages) {
        expect(bench.handler.chunks(channel).map(({ length }) => length)).toEqual([
          1, 2, 70_000, 1,
        ]);
      }
      expect(bench.handler.received(channel).equals(Buffer.concat(messages))).toBe(true);
    },
  },

  "a chunk's bytes are taken back when the callback has returned": {
    needs: ({ traits }) => traits.reusesReceiveMemory,
    async run(bench) {
      const kept: { bytes: Bytes; start: number; end: number }[] = [];
      bench.handler.on.onChunk = (_channel, bytes, start, end) => kept.push({ bytes, start, end });
      const { peer, channel } = await bench.connect();
      peer.send(Buffer.from("first"));
      await until(() => bench.handler.receivedBytes(channel) === 5, "the first comes");
      peer.send(Buffer.from("other"));
      await until(() => bench.handler.receivedBytes(channel) === 10, "the second comes");
      // A view whose memory is gone altogether has no bytes.
      const { bytes, start, end } = kept[0]!;
      const left = bytes.length === 0 ? "" : Buffer.from(bytes).toString("latin1", start, end);
      expect(left).not.toBe("first");
    },
  },

  "bytes of several connections never mix": {
    async run(bench) {
      const all = [await bench.connect(), await bench.connect(), await bench.connect()];
      for (let round = 0; round < 50; round++) {
        for (const { peer, channel } of all) peer.send(Buffer.alloc(500, 0x41 + channel));
      }
      for (const { channel } of all) {
        await until(() => bench.handler.receivedBytes(channel) === 25_000, "all bytes come");
        const expected = Buffer.alloc(25_000, 0x41 + channel);
        expect(bench.handler.received(channel).equals(expected)).toBe(true);
      }
    },
  },

  "no chunk comes while reading is paused, and all come in order afterwards": {
    needs: ({ traits }) => traits.canPause,
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.transport.pause(channel);
      for (let at = 0; at < 300_000; at += 15_000) peer.send(pattern(at, 15_000));
      await pass();
      expect(bench.handler.chunks(channel)).toEqual([]);
      bench.transport.resume(channel);
      await until(() => bench.handler.receivedBytes(channel) === 300_000, "all bytes come");
      expect(bench.handler.received(channel).equals(pattern(0, 300_000))).toBe(true);
    },
  },

  "pausing from inside a chunk holds the next one back, again and again": {
    needs: ({ traits }) => traits.canPause,
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.handler.on.onChunk = () => {
        bench.transport.pause(channel);
        setTimeout(() => bench.transport.resume(channel), 2);
      };
      for (let at = 0; at < 200_000; at += 20_000) peer.send(pattern(at, 20_000));
      await until(() => bench.handler.receivedBytes(channel) === 200_000, "all bytes come");
      expect(bench.handler.received(channel).equals(pattern(0, 200_000))).toBe(true);
    },
  },

  "pausing where it is not possible loses and changes nothing": {
    needs: ({ traits }) => !traits.canPause,
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.transport.pause(channel);
      peer.send(Buffer.from("all the same"));
      await until(() => bench.handler.receivedBytes(channel) === 12, "it comes all the same");
      bench.transport.resume(channel);
    },
  },

  "it says whether reading can be paused": {
    async run(bench) {
      const { canPause } = bench.harness.traits;
      expect(bench.transport.canPause).toBe(canPause);
    },
  },

  "pausing twice and resuming once reads on, and resuming more often does no harm": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.transport.pause(channel);
      bench.transport.pause(channel);
      peer.send(Buffer.from("x"));
      bench.transport.resume(channel);
      bench.transport.resume(channel);
      await until(() => bench.handler.receivedBytes(channel) === 1, "it comes");
    },
  },

  "a peer that ends its side is told once, after its last byte, and can still be written to": {
    needs: ({ traits }) => traits.hasHalfClose,
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.send(pattern(0, 200_000));
      peer.end();
      await until(() => bench.handler.hasEnded(channel), "the end is told");
      expect(bench.handler.receivedBytes(channel)).toBe(200_000);
      bench.write(channel, pattern(0, 50_000));
      await until(() => peer.receivedBytes === 50_000, "the answer comes");
      expect(bench.handler.isOpen(channel)).toBe(true);
      bench.transport.close(channel, 1000, "");
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.endOf(channel)).toBe("closed");
      expect(peer.received.equals(pattern(0, 50_000))).toBe(true);
    },
  },

  "a peer that ends its side while its bytes wait for a pause is told after them": {
    needs: ({ traits }) => traits.hasHalfClose,
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.transport.pause(channel);
      peer.send(pattern(0, 100_000));
      peer.end();
      await pass();
      expect(bench.handler.hasEnded(channel)).toBe(false);
      bench.transport.resume(channel);
      await until(() => bench.handler.hasEnded(channel), "the end is told");
      expect(bench.handler.received(channel).equals(pattern(0, 100_000))).toBe(true);
    },
  },

  "a peer that ends in order is closed in order": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.handler.on.onEnd = (ended) => bench.transport.close(ended, 1000, "");
      peer.end();
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.endOf(channel)).toBe("closed");
      await until(() => peer.ended !== null, "the peer is done");
      expect(peer.ended!.wasReset).toBe(false);
    },
  },

  "a peer's reset closes the connection as reset": {
    needs: ({ traits }) => traits.hasReset,
    async run(bench) {
      const { peer, channel } = await bench.connect();
      peer.send(Buffer.from("x"));
      await until(() => bench.handler.receivedBytes(channel) === 1, "the byte comes");
      peer.reset();
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      expect(bench.handler.endOf(channel)).toBe("reset");
    },
  },
};

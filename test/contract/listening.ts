import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect } from "vitest";
import { WRITE } from "../../src/transport/transport.ts";
import { type ContractTests, pass, until } from "../support/transport-bench.ts";

export const LISTENING: ContractTests = {
  "a transport that stopped accepting takes nobody new and keeps those it has": {
    async run(bench) {
      const { peer, channel } = await bench.connect();
      bench.transport.stopAccepting();
      await bench.expectNoConnection();
      expect(bench.write(channel, "still here")).toBe(WRITE.SENT);
      peer.send(Buffer.from("me too"));
      await until(() => peer.received.toString() === "still here", "the peer is served");
      await until(() => bench.handler.receivedBytes(channel) === 6, "the peer is heard");
    },
  },

  "accepting resumes at the same address": {
    async run(bench) {
      await bench.connect();
      for (let round = 0; round < 3; round++) {
        bench.transport.stopAccepting();
        await bench.expectNoConnection();
        await bench.transport.resumeAccepting();
        const { peer, channel } = await bench.connect();
        bench.write(channel, "welcome");
        await until(() => peer.received.toString() === "welcome", "the new one is served");
      }
    },
  },

  "stopping twice is the same as once, and so is resuming": {
    async run(bench) {
      bench.transport.stopAccepting();
      bench.transport.stopAccepting();
      await bench.transport.resumeAccepting();
      await bench.transport.resumeAccepting();
      await bench.connect();
      expect(bench.handler.opened.length).toBe(1);
    },
  },

  "destroy cuts everybody off, each once, and lets their slabs go": {
    async run(bench) {
      const all = [await bench.connect(), await bench.connect(), await bench.connect()];
      all[0]!.peer.setReading(false);
      bench.writeUntilQueued(all[0]!.channel);
      bench.transport.close(all[1]!.channel, 1000, "");
      bench.transport.destroy();
      await until(() => bench.handler.closed.length === 3, "all are closed");
      await until(() => bench.pool.leased === 0, "every slab is released");
      for (const { peer } of all) {
        peer.setReading(true);
        await until(() => peer.ended !== null, "the peer is told");
      }
      await bench.expectNoConnection();
    },
  },

  "destroy may come twice, and calls after it find nothing": {
    async run(bench) {
      const { channel } = await bench.connect();
      bench.transport.destroy();
      bench.transport.destroy();
      expect(bench.write(channel, "x")).toBe(WRITE.REFUSED);
      bench.transport.reset(channel);
      bench.transport.close(channel, 1000, "");
      bench.transport.stopAccepting();
      await until(() => !bench.handler.isOpen(channel), "it is closed");
      await pass(20);
      expect(bench.handler.closed.length).toBe(1);
    },
  },

  "a process ends by itself once the transport is destroyed, though clients hold on": {
    needs: ({ exitProgram }) => exitProgram !== undefined,
    async run({ harness }) {
      const args = ["--input-type=module", "--eval", harness.exitProgram!];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
      let output = "";
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding("utf8").on("data", (text: string) => (output += text));
      }
      const timer = setTimeout(() => child.kill("SIGKILL"), 8_000);
      const [code] = (await once(child, "exit")) as [number | null];
      clearTimeout(timer);
      expect({ code, output: output.trim() }).toEqual({ code: 0, output: "destroyed" });
    },
  },
};

// Who is let in, served and turned away, against plain counts.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MARK } from "../../src/connection/mark.ts";
import { Admission } from "../../src/server/admission.ts";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import { hello } from "../support/raw-message.ts";

const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.constant("come" as const) },
    { weight: 1, arbitrary: fc.constant("leave served" as const) },
    { weight: 1, arbitrary: fc.constant("leave turned away" as const) },
    { weight: 1, arbitrary: fc.constant("pending" as const) },
    { weight: 1, arbitrary: fc.constant("pending gone" as const) },
    { weight: 1, arbitrary: fc.constant("reconsider" as const) },
  ),
  { maxLength: 200, size: "max" },
);

describe("admission", () => {
  it("serves no more than allowed, uses no file beyond the limit, and opens its door again", () => {
    const limits = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 60 }));
    fc.assert(
      fc.property(limits, steps, ([connectionsMax, filesMax], all) => {
        let pending = 0;
        let isOpen = true;
        let [served, turnedAway] = [0, 0];
        const admission = new Admission(
          connectionsMax,
          filesMax,
          () => null,
          () => pending,
          (accepting) => {
            expect(accepting).toBe(!isOpen);
            isOpen = accepting;
          },
        );
        for (const next of all) {
          const files = served + turnedAway + pending;
          if (next === "come") {
            expect(admission.admit()).toBe(files < filesMax);
            if (files >= filesMax) continue;
            expect(admission.isFull).toBe(served >= connectionsMax);
            if (admission.isFull) turnedAway = ++admission.turnedAway;
            else served = ++admission.served;
          } else if (next === "leave served" && served > 0) {
            served--;
            admission.left(true);
          } else if (next === "leave turned away" && turnedAway > 0) {
            turnedAway--;
            admission.left(false);
          } else if (next === "pending" && files < filesMax) {
            pending++;
          } else if (next === "pending gone" && pending > 0) {
            pending--;
          } else if (next === "reconsider") {
            admission.reconsider();
            const isRoom = files <= filesMax * 0.98;
            if (isRoom) expect(isOpen).toBe(true);
          }
          expect([admission.served, admission.turnedAway]).toEqual([served, turnedAway]);
          expect(admission.served).toBeLessThanOrEqual(connectionsMax);
          expect(served + turnedAway + pending).toBeLessThanOrEqual(filesMax);
          expect(admission.isAccepting).toBe(isOpen);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("over a server: what came is open or closed, at every step", async () => {
    const moves = fc.array(fc.oneof(fc.constant("come" as const), fc.nat(30)), {
      maxLength: 60,
      size: "max",
    });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 8 }), moves, async (max, all) => {
        const running = await MemoryServer.start({ options: { connection: { max } } });
        const { server } = running;
        const clients: MemoryClient[] = [];
        let attempted = 0;
        for (const move of all) {
          if (move === "come") {
            attempted++;
            const client = running.connect();
            client.sendBody(hello(1));
            clients.push(client);
            if (attempted % 3 === 0) client.peer.setReading(false);
          } else if (clients.length > 0) {
            clients.splice(move % clients.length, 1)[0]!.peer.reset();
          }
          if (attempted % 4 === 0) await running.clock.settle();
          const { opened, refused } = server.shared.counters;
          const closed = Object.values(server.closedByReason).reduce(
            (sum, count) => sum + count,
            0,
          );
          expect(opened).toBe(attempted);
          expect(server.admission.served).toBeLessThanOrEqual(max);
          const open = [...server.registry.all()];
          expect(open.length).toBe(opened - closed);
          expect(server.admission.served + server.admission.turnedAway).toBe(open.length);
          expect(open.filter((connection) => connection.has(MARK.TURNED_AWAY)).length).toBe(
            server.admission.turnedAway,
          );
          expect(server.closedByReason.overloaded).toBeLessThanOrEqual(refused);
        }
        await running.stop();
      }),
      { numRuns: 60 },
    );
  });
});

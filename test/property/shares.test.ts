// Shares of connection.max against a model: workers that hear late, fill unevenly, come and go.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nextShares, type Sharer } from "../../src/supervisor/shares.ts";

/** A worker whose messages in both directions are under way for a while. */
class ModelWorker {
  served: number = 0;
  /** In force. */
  share: number = 0;
  told: number = 0;
  isAccepting: boolean = true;
  /** What the supervisor has heard. */
  reported: { served: number; share: number } = { served: 0, share: 0 };
  readonly #mail: number[] = [];

  get sharer(): Sharer {
    const { reported, told, isAccepting } = this;
    return { served: reported.served, confirmed: reported.share, told, isAccepting };
  }

  tell(share: number): void {
    if (share !== this.told) this.#mail.push(share);
    this.told = share;
  }

  hear(): void {
    this.share = this.#mail.shift() ?? this.share;
  }

  connect(wanted: number): void {
    if (this.isAccepting) this.served += Math.max(0, Math.min(wanted, this.share - this.served));
  }

  leave(wanted: number): void {
    this.served -= Math.min(wanted, this.served);
  }

  report(): void {
    this.reported = { served: this.served, share: this.share };
  }
}

const STEPS = ["connect", "leave", "hear", "report", "share", "join", "drain", "end"] as const;

const steps = fc.array(
  fc.record({
    what: fc.constantFrom(...STEPS),
    which: fc.nat(7),
    count: fc.nat(400),
  }),
  { minLength: 1, maxLength: 200 },
);

function share(max: number, workers: readonly ModelWorker[], turn: number): void {
  const shares = nextShares(
    max,
    workers.map(({ sharer }) => sharer),
    turn,
  );
  for (const [index, next] of shares.entries()) workers[index]!.tell(next);
}

describe("shares of connection.max", () => {
  it("never let more be served than the whole, whatever is heard late", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000 }), steps, (max, given) => {
        let workers = [new ModelWorker(), new ModelWorker()];
        for (const [turn, { what, which, count }] of given.entries()) {
          const worker = workers[which % workers.length]!;
          if (what === "connect") worker.connect(count);
          if (what === "leave") worker.leave(count);
          if (what === "hear") worker.hear();
          if (what === "report") worker.report();
          if (what === "share") share(max, workers, turn);
          if (what === "join" && workers.length < 6) workers.push(new ModelWorker());
          if (what === "drain") worker.isAccepting = false;
          if (what === "end" && workers.length > 1) workers = workers.filter((w) => w !== worker);
          const served = workers.reduce((sum, one) => sum + one.served, 0);
          expect(served).toBeLessThanOrEqual(max);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("give all that is left to whoever accepts, once everybody has been heard", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000 }),
        fc.array(fc.nat(500), { minLength: 1, maxLength: 8 }),
        (max, demands) => {
          const workers = demands.map(() => new ModelWorker());
          for (let round = 0; round < 100; round++) {
            share(max, workers, round);
            for (const [index, worker] of workers.entries()) {
              worker.hear();
              worker.connect(demands[index]! - worker.served);
              worker.report();
            }
          }
          const served = workers.reduce((sum, one) => sum + one.served, 0);
          const wanted = demands.reduce((sum, demand) => sum + demand, 0);
          expect(served).toBe(Math.min(wanted, max));
        },
      ),
      { numRuns: 500 },
    );
  });
});

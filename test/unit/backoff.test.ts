import { describe, expect, it } from "vitest";
import { Backoff } from "../../src/base/backoff.ts";
import { Prng } from "../../src/base/prng.ts";

const OPTIONS = { baseMs: 100, maxMs: 5_000 };

describe("backoff", () => {
  it("draws each wait between nothing and a ceiling that doubles up to its maximum", () => {
    for (let seed = 0; seed < 200; seed++) {
      const backoff = new Backoff(OPTIONS, new Prng(seed));
      for (const ceiling of [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]) {
        const wait = backoff.nextMs();
        expect(wait).toBeGreaterThanOrEqual(0);
        expect(wait).toBeLessThan(ceiling);
      }
    }
  });

  it("spreads clients that lost the same server over the whole ceiling", () => {
    const waits = Array.from({ length: 1_000 }, (_, seed) =>
      new Backoff(OPTIONS, new Prng(seed)).nextMs(),
    );
    for (let tenth = 0; tenth < 10; tenth++) {
      const inTenth = waits.filter((wait) => Math.floor(wait / 10) === tenth).length;
      expect(inTenth).toBeGreaterThan(50);
    }
  });

  it("never waits less than the server asked for, and jitters on top of it", () => {
    const waits = new Set<number>();
    for (let seed = 0; seed < 50; seed++) {
      const wait = new Backoff(OPTIONS, new Prng(seed)).nextMs(2_000);
      expect(wait).toBeGreaterThanOrEqual(2_000);
      expect(wait).toBeLessThan(2_100);
      waits.add(wait);
    }
    expect(waits.size).toBeGreaterThan(40);
  });

  it("begins anew after a reset", () => {
    const backoff = new Backoff(OPTIONS, new Prng(1));
    for (let index = 0; index < 10; index++) backoff.nextMs();
    expect(backoff.attempts).toBe(10);
    backoff.reset();
    expect(backoff.attempts).toBe(0);
    expect(backoff.nextMs()).toBeLessThan(100);
  });

  it("stays finite and below its maximum after any number of attempts", () => {
    const backoff = new Backoff({ baseMs: 100, maxMs: 30_000 }, new Prng(9));
    for (let index = 0; index < 5_000; index++) {
      expect(backoff.nextMs()).toBeLessThan(30_000);
    }
  });

  it("keeps to a maximum that is below its base", () => {
    const backoff = new Backoff({ baseMs: 1_000, maxMs: 10 }, new Prng(9));
    for (let index = 0; index < 100; index++) expect(backoff.nextMs()).toBeLessThan(10);
  });
});

import { describe, expect, it } from "vitest";
import { inheritedSockets } from "../../src/supervisor/socket-activation.ts";
import { evenlySpread, WORKERS_MAX, workersFor } from "../../src/supervisor/worker-count.ts";

describe("sockets that a service manager hands over", () => {
  const env = { LISTEN_PID: "42", LISTEN_FDS: "3", LISTEN_FDNAMES: "tcp:websocket.0:tcp.1" };

  it("are found by name", () => {
    expect([...inheritedSockets(env, 42)]).toEqual([
      ["tcp", [3, 5]],
      ["websocket", [4]],
    ]);
  });

  it("are none where they are meant for another process, or where there are no variables", () => {
    expect(inheritedSockets(env, 43).size).toBe(0);
    expect(inheritedSockets({ ...env, LISTEN_PID: undefined }, 42).size).toBe(0);
    expect(inheritedSockets({}, 42).size).toBe(0);
    expect(inheritedSockets({ LISTEN_PID: "42", LISTEN_FDS: "0" }, 42).size).toBe(0);
  });

  it.each(["", "-1", "3.5", "three", "4097", "99999999999"])("refuse LISTEN_FDS %j", (count) => {
    expect(() => inheritedSockets({ ...env, LISTEN_FDS: count }, 42)).toThrow(
      expect.objectContaining({ code: "HOLDFAST_OPTIONS_INVALID" }),
    );
  });

  it.each([
    [{ LISTEN_FDNAMES: undefined }, "the inherited socket 3 has no name: name it tcp or websocket"],
    [{ LISTEN_FDNAMES: "tcp:unknown:tcp" }, 'the inherited socket 4 is called "unknown"'],
    [{ LISTEN_FDNAMES: "tcp" }, "the inherited socket 4 has no name"],
    [{ LISTEN_FDNAMES: "tcp:admin:tcp" }, 'the inherited socket 4 is called "admin"'],
  ])("refuse names that say nothing: %j", (names, message) => {
    expect(() => inheritedSockets({ ...env, ...names }, 42)).toThrow(
      expect.objectContaining({ message: expect.stringContaining(message) as string }),
    );
  });
});

describe("how many workers there are", () => {
  it("is one per core where a process holds what is wanted", () => {
    expect(workersFor(null, 20_000, 2, 2)).toBe(2);
    expect(workersFor(30_000, 20_000, 4, 2)).toBe(4);
    expect(workersFor(10_000_000, null, 3, 2)).toBe(3);
    expect(workersFor(1, 1_024, 0, 1)).toBe(1);
  });

  it("is more where files are few, with room for an uneven spread", () => {
    const workers = workersFor(300_000, 20_000, 2, 2);
    expect(workers * evenlySpread(20_000, workers, 2)).toBeGreaterThanOrEqual(300_000);
    expect((workers - 1) * evenlySpread(20_000, workers - 1, 2)).toBeLessThan(300_000);
    const mean = 300_000 / workers;
    const files = 64 + 40 + workers * 2;
    expect(mean + 4 * Math.sqrt(mean) + files).toBeLessThanOrEqual(20_000);
  });

  it("ends somewhere, also where no number is enough", () => {
    expect(workersFor(10_000_000, 200, 2, 2)).toBe(WORKERS_MAX);
    expect(workersFor(10_000_000, 10, 2, 2)).toBe(WORKERS_MAX);
  });
});

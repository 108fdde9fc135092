// The supervisor with workers and time in the hands of the test.

import { describe, expect, it } from "vitest";
import { optionsFrom } from "../../src/config/resolve.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import { BREAKER_PAUSE_MS } from "../../src/supervisor/restart-policy.ts";
import { SupervisorStage } from "../support/fake-workers.ts";

const named = (options: PartialOptions = {}): ReturnType<typeof optionsFrom> =>
  optionsFrom({ ...options, node: { name: "stage" } });

describe("starting", () => {
  it("serves once every slot has a worker that is ready", async () => {
    const stage = new SupervisorStage(3);
    const started = stage.supervisor.start();
    expect(stage.workers.map(({ start }) => start.sockets)).toEqual([
      { tcp: [3] },
      { tcp: [4] },
      { tcp: [5] },
    ]);
    for (const worker of stage.workers.slice(0, 2)) worker.ready();
    expect(stage.supervisor.state).toBe("starting");
    stage.newest.ready();
    await started;
    expect(stage.supervisor.state).toBe("serving");
  });

  it("fails with what a worker said, and leaves none behind", async () => {
    const stage = new SupervisorStage(2);
    const failure = stage.supervisor.start().catch((error: unknown) => error);
    stage.workers[0]!.ready();
    stage.newest.say({ type: "failed", code: "X", message: "no such transport" });
    stage.newest.exit(1);
    expect(await failure).toMatchObject({
      code: "HOLDFAST_WORKER_FAILED",
      message: "a worker did not start: no such transport",
    });
    expect(stage.workers.every(({ isGone }) => isGone)).toBe(true);
    expect(stage.isClosed).toBe(true);
    expect(stage.supervisor.state).toBe("stopped");
    expect(stage.clock.pending).toBe(0);
  });

  it("gives up on one that is not ready in time", async () => {
    const stage = new SupervisorStage(1, { workers: { readyTimeoutMs: 2_000 } });
    const failure = stage.supervisor.start().catch((error: unknown) => error);
    await stage.pass(2_000);
    expect(await failure).toMatchObject({
      message: "a worker did not start: it was not ready within 2000 ms",
    });
    expect(stage.newest.isGone).toBe(true);
  });

  it("takes what nobody knows from a worker without a word", async () => {
    const stage = await new SupervisorStage(1).serve();
    const ready = { type: "ready", listeners: null, connectionsMax: 1 };
    const report = { type: "report", state: "serving", served: -1, connectionsMax: 1 };
    for (const said of [null, 7, "ready", {}, { type: "dance" }, { type: 1 }, [], ready, report]) {
      stage.newest.say(said);
    }
    stage.newest.say({ ...report, served: 1, connectionsMax: "many" });
    stage.newest.sayBare({ type: "ready", listeners: [], connectionsMax: 1 });
    stage.newest.say({ type: "prepared" });
    stage.newest.say({ type: "answer", seq: 99, answer: null });
    stage.newest.say({ type: "prepared", change: 99, refusal: null });
    stage.newest.ready();
    expect(stage.supervisor.state).toBe("serving");
    expect(stage.workers).toHaveLength(1);
  });
});

describe("many workers", () => {
  it("are started a few at a time", async () => {
    const stage = new SupervisorStage(6, { connection: { max: 60 } }, 2);
    const started = stage.supervisor.start();
    expect(stage.workers).toHaveLength(2);
    expect(stage.workers.map(({ share }) => share)).toEqual([10, 10]);
    stage.workers[1]!.ready();
    expect(stage.workers).toHaveLength(3);
    for (let index = 0; index < 6; index++) if (index !== 1) stage.workers[index]!.ready();
    await started;
    await stage.pass(500);
    expect(stage.workers.map(({ share }) => share)).toEqual([10, 10, 10, 10, 10, 10]);
  });
});

describe("a worker that ends", () => {
  it("is followed by another in the same slot, under a number of its own", async () => {
    const stage = await new SupervisorStage(2).serve();
    stage.workers[0]!.exit(null, "SIGKILL");
    expect(stage.supervisor.slots[0]!.state).toBe("waiting");
    await stage.pass(200);
    expect(stage.workers).toHaveLength(3);
    expect(stage.newest.start).toMatchObject({ slot: 0, worker: 3, sockets: { tcp: [3] } });
    stage.newest.ready();
    expect(stage.supervisor.slots[0]).toMatchObject({ state: "serving", restarts: 1, crashes: 1 });
  });

  it("opens the breaker after five times in a minute, while siblings serve on", async () => {
    const stage = await new SupervisorStage(2).serve();
    const [broken, well] = stage.supervisor.slots;
    for (let crash = 0; crash < 4; crash++) {
      (crash === 0 ? stage.workers[0]! : stage.newest).exit(70);
      await stage.pass(3_000);
      stage.newest.ready();
    }
    expect(broken!.state).toBe("serving");
    stage.newest.exit(70);
    expect(broken!.state).toBe("broken");
    expect(well!.state).toBe("serving");
    const before = stage.workers.length;
    await stage.pass(BREAKER_PAUSE_MS - 100);
    expect(stage.workers).toHaveLength(before);
    await stage.pass(200);
    expect(stage.workers).toHaveLength(before + 1);
  });

  it("does not open the breaker when the crashes are far apart", async () => {
    const stage = await new SupervisorStage(1).serve();
    for (let crash = 0; crash < 8; crash++) {
      stage.newest.exit(70);
      await stage.pass(16_000);
      stage.newest.ready();
    }
    expect(stage.supervisor.slots[0]!.state).toBe("serving");
  });

  it("is tried again at once by a reload where the breaker is open", async () => {
    const stage = await new SupervisorStage(1).serve();
    for (let crash = 0; crash < 5; crash++) {
      stage.newest.exit(70);
      await stage.pass(3_000);
      if (stage.supervisor.slots[0]!.state === "starting") stage.newest.ready();
    }
    expect(stage.supervisor.slots[0]!.state).toBe("broken");
    const reloaded = stage.supervisor.reload();
    expect(stage.supervisor.slots[0]!.state).toBe("starting");
    stage.newest.ready();
    await expect(reloaded).resolves.toMatchObject({ completed: 1, problem: null });
  });

  it("is replaced before it is gone where it goes by itself", async () => {
    const stage = await new SupervisorStage(1).serve();
    const [old] = stage.workers;
    old!.state = "draining";
    old!.report();
    expect(old!.heard("drain")).toHaveLength(1);
    await stage.pass(100);
    expect(stage.workers).toHaveLength(2);
    stage.newest.ready();
    expect(stage.supervisor.slots[0]!.state).toBe("serving");
    old!.exit(0);
    expect(stage.supervisor.slots[0]!.state).toBe("serving");
  });
});

describe("a worker whose application stops its server", () => {
  it("is told to end, and followed by others ever more slowly", async () => {
    const stage = await new SupervisorStage(1).serve();
    for (let round = 0; round < 5; round++) {
      const worker = stage.newest;
      worker.state = "stopped";
      worker.report();
      expect(worker.heard("drain")).toHaveLength(1);
      worker.exit(0);
      await stage.pass(3_000);
      if (round < 4) stage.newest.ready();
    }
    expect(stage.supervisor.slots[0]!.state).toBe("broken");
  });
});

describe("a slot that is down", () => {
  it("is served by the least busy other after a second, and given back", async () => {
    const stage = await new SupervisorStage(3).serve();
    const [first, busy, idle] = stage.workers;
    busy!.served = 10;
    await stage.pass(300);
    first!.exit(null, "SIGKILL");
    await stage.pass(900);
    expect(idle!.heard("adopt")).toEqual([]);
    await stage.pass(400);
    expect(idle!.heard("adopt")).toEqual([{ type: "adopt", sockets: { tcp: [3] } }]);
    expect(busy!.heard("adopt")).toEqual([]);
    stage.newest.ready();
    await stage.pass(300);
    expect(idle!.heard("release")).toEqual([{ type: "release", sockets: { tcp: [3] } }]);
  });

  it("goes to a third where the second ends too", async () => {
    const stage = await new SupervisorStage(3).serve();
    const [first, second, third] = stage.workers;
    first!.exit(null, "SIGKILL");
    third!.served = 5;
    await stage.pass(1_300);
    expect(second!.heard("adopt")).toHaveLength(1);
    second!.exit(null, "SIGKILL");
    await stage.pass(300);
    expect(third!.heard("adopt")).toContainEqual({ type: "adopt", sockets: { tcp: [3] } });
  });

  it("is also one whose worker is silent; that one is ended when it stays so", async () => {
    const stage = await new SupervisorStage(2, { workers: { unresponsiveMs: 5_000 } }).serve();
    const [stopped, other] = stage.workers;
    await stage.pass(1_500, [other!]);
    expect(other!.heard("adopt")).toHaveLength(1);
    expect(stopped!.isGone).toBe(false);
    stopped!.report();
    await stage.pass(300);
    expect(other!.heard("release")).toHaveLength(1);
    await stage.pass(6_000, [other!]);
    expect(stopped!.isGone).toBe(true);
    expect(stage.workers.length).toBeGreaterThan(2);
  });
});

describe("a supervisor that stood still", () => {
  it("does not take its workers for silent", async () => {
    const stage = await new SupervisorStage(2).serve();
    await stage.pass(1_000);
    stage.clock.stall(60_000);
    await stage.pass(500, []);
    for (const worker of stage.workers) worker.report();
    await stage.pass(2_000);
    expect(stage.workers.map(({ isGone }) => isGone)).toEqual([false, false]);
    expect(stage.workers.flatMap((worker) => worker.heard("adopt"))).toEqual([]);
  });
});

describe("a rolling restart", () => {
  it("replaces slot by slot: ready before the old one drains, gone before the next", async () => {
    const stage = await new SupervisorStage(2).serve();
    const [first, second] = stage.workers;
    const reloaded = stage.supervisor.reload();
    expect(stage.workers).toHaveLength(3);
    expect(first!.heard("drain")).toEqual([]);
    stage.newest.ready();
    expect(first!.heard("drain")).toEqual([{ type: "drain", hasten: false }]);
    await stage.pass(1_000);
    expect(stage.workers).toHaveLength(3);
    first!.exit(0);
    await stage.pass(50);
    expect(stage.workers).toHaveLength(4);
    expect(second!.heard("drain")).toEqual([]);
    stage.newest.ready();
    second!.exit(0);
    await expect(reloaded).resolves.toMatchObject({ state: "idle", completed: 1, slotsDone: 2 });
  });

  it("leaves the old one serving where the new one is not ready in time", async () => {
    const stage = await new SupervisorStage(2, { workers: { readyTimeoutMs: 1_000 } }).serve();
    const reloaded = stage.supervisor.reload();
    await stage.pass(1_100);
    await expect(reloaded).resolves.toMatchObject({
      failed: 1,
      slotsDone: 0,
      problem: "slot 0: the new worker failed: it was not ready within 1000 ms",
    });
    expect(stage.workers[0]!.heard("drain")).toEqual([]);
    expect(stage.workers[0]!.isGone).toBe(false);
    expect(stage.supervisor.slots[0]!.state).toBe("serving");
  });

  it("makes one more of many that are asked for meanwhile", async () => {
    const stage = await new SupervisorStage(1).serve();
    const asked = Array.from({ length: 20 }, () => stage.supervisor.reload());
    for (let round = 0; round < 4; round++) {
      if (!stage.newest.hasStarted) stage.newest.ready();
      for (const old of stage.workers) if (old.state === "draining") old.exit(0);
      await stage.pass(50);
    }
    await Promise.all(asked);
    expect(stage.supervisor.rolling.report).toMatchObject({ state: "idle", completed: 2 });
    expect(stage.workers).toHaveLength(3);
  });

  it("goes on where the old one crashes while its successor starts", async () => {
    const stage = await new SupervisorStage(1).serve();
    const reloaded = stage.supervisor.reload();
    stage.workers[0]!.exit(null, "SIGSEGV");
    expect(stage.supervisor.slots[0]!.state).toBe("starting");
    expect(stage.workers).toHaveLength(2);
    stage.newest.ready();
    await expect(reloaded).resolves.toMatchObject({ completed: 1 });
  });

  it("replaces a worker that was starting already: it may have the old code", async () => {
    const stage = await new SupervisorStage(1).serve();
    stage.workers[0]!.exit(70);
    await stage.pass(200);
    const starting = stage.newest;
    const reloaded = stage.supervisor.reload();
    expect(starting.isGone).toBe(true);
    expect(stage.workers).toHaveLength(3);
    stage.newest.ready();
    await expect(reloaded).resolves.toMatchObject({ completed: 1 });
  });
});

describe("a worker that does not end its draining", () => {
  const options = {
    drain: { graceMs: 1_000, closeSpreadMs: 1_000 },
    workers: { unresponsiveMs: 2_000 },
  };

  it("is ended when it has gone silent, and the rolling restart goes on", async () => {
    const stage = await new SupervisorStage(2, options).serve();
    void stage.supervisor.reload();
    stage.newest.ready();
    const [old, ...others] = stage.workers;
    expect(old!.state).toBe("draining");
    await stage.pass(2_500, others);
    expect(old!.isGone).toBe(true);
    expect(stage.workers).toHaveLength(4);
  });

  it("is ended when it takes longer than all its clients may", async () => {
    const stage = await new SupervisorStage(1, options).serve();
    const reloaded = stage.supervisor.reload();
    stage.newest.ready();
    await stage.pass(6_500);
    expect(stage.workers[0]!.isGone).toBe(false);
    await stage.pass(1_000);
    expect(stage.workers[0]!.isGone).toBe(true);
    await expect(reloaded).resolves.toMatchObject({ completed: 1 });
  });
});

describe("the configuration", () => {
  const longer = { connection: { idleTimeoutMs: 65_000 } };

  it("is swapped in every worker once all have agreed", async () => {
    const stage = await new SupervisorStage(2).serve();
    await stage.supervisor.configuration.change(named(longer));
    expect(stage.workers.map(({ options }) => options!.connection.idleTimeoutMs)).toEqual([
      65_000, 65_000,
    ]);
    const { report } = stage.supervisor.configuration;
    expect(report).toMatchObject({ accepted: 1, refused: 0, problem: null });
    expect(report.hash).toBe(report.wantedHash);
  });

  it("is swapped in none where one refuses", async () => {
    const stage = await new SupervisorStage(3).serve();
    stage.workers[1]!.refusal = "no";
    await stage.supervisor.configuration.change(named(longer));
    for (const worker of stage.workers) {
      expect(worker.options!.connection.idleTimeoutMs).toBe(60_000);
      expect(worker.heard("commit")).toEqual([]);
      expect(worker.heard("abort")).toHaveLength(1);
    }
    expect(stage.supervisor.configuration.report).toMatchObject({
      accepted: 0,
      refused: 1,
      problem: "worker 2: no",
    });
  });

  it("does not wait for one that ends, nor for ever for one that says nothing", async () => {
    const stage = await new SupervisorStage(2).serve();
    stage.workers[0]!.votes = false;
    const changed = stage.supervisor.configuration.change(named(longer));
    stage.workers[0]!.exit(70);
    await changed;
    expect(stage.supervisor.configuration.report.accepted).toBe(1);
    const [, busy] = stage.workers;
    busy!.votes = false;
    const changing = stage.supervisor.configuration.change(named());
    await stage.pass(5_100);
    await changing;
    expect(stage.supervisor.configuration.report).toMatchObject({ accepted: 2, refused: 0 });
    expect(busy!.options!.connection.idleTimeoutMs).toBe(60_000);
  });

  it("is sent once more to a worker that reports another, and not for ever", async () => {
    const stage = await new SupervisorStage(1).serve();
    const prepared = (): number => stage.newest.heard("prepare").length;
    const report = { type: "report", state: "serving", served: 0, connectionsMax: 0 };
    for (let count = 0; count < 5; count++) stage.newest.say({ ...report, configHash: "other" });
    expect(prepared()).toBe(1);
    await stage.supervisor.configuration.change(named(longer));
    for (let count = 0; count < 5; count++) stage.newest.say({ ...report, configHash: "other" });
    expect(prepared()).toBe(3);
  });

  it("is caught up with by a worker that was silent", async () => {
    const stage = await new SupervisorStage(2).serve();
    const [silent, other] = stage.workers;
    await stage.pass(1_500, [other!]);
    await stage.supervisor.configuration.change(named(longer));
    expect(silent!.options!.connection.idleTimeoutMs).toBe(60_000);
    silent!.report();
    expect(silent!.options!.connection.idleTimeoutMs).toBe(65_000);
  });

  it("reaches a worker that is started while others vote", async () => {
    const stage = await new SupervisorStage(2).serve();
    const [busy, other] = stage.workers;
    busy!.votes = false;
    const changing = stage.supervisor.configuration.change(named(longer));
    other!.exit(70);
    await stage.pass(200);
    stage.newest.ready();
    const { change } = busy!.heard("prepare")[0] as { readonly change: number };
    busy!.say({ type: "prepared", change, refusal: null });
    await changing;
    await stage.pass(300);
    expect(stage.newest.options!.connection.idleTimeoutMs).toBe(65_000);
    expect(busy!.options!.connection.idleTimeoutMs).toBe(65_000);
  });

  it("waits with what only a new worker, or a new supervisor, can take up", async () => {
    const stage = await new SupervisorStage(1).serve();
    const wanted = named({ ...longer, tcp: { noDelay: false, port: 7_777 } });
    await stage.supervisor.configuration.change(wanted);
    expect(stage.workers[0]!.options).toMatchObject({
      connection: { idleTimeoutMs: 65_000 },
      tcp: { noDelay: true, port: 7_400 },
    });
    expect(stage.supervisor.configuration.report.pending).toEqual({
      rolling: ["tcp.noDelay"],
      supervisor: ["tcp.port"],
    });
    const reloaded = stage.supervisor.reload();
    expect(stage.newest.startedWith!.tcp).toMatchObject({ noDelay: false, port: 7_400 });
    stage.newest.ready();
    stage.workers[0]!.exit(0);
    await reloaded;
    expect(stage.supervisor.configuration.report.pending.rolling).toEqual([]);
  });

  it("changes in the midst of a rolling restart, for old workers and new ones", async () => {
    const stage = await new SupervisorStage(2).serve();
    await stage.supervisor.configuration.change(named({ tcp: { noDelay: false } }));
    void stage.supervisor.reload();
    stage.newest.ready();
    await stage.supervisor.configuration.change(named({ ...longer, tcp: { noDelay: false } }));
    const running = stage.workers.filter(({ state }) => state === "serving");
    expect(running.map(({ options }) => options!.connection.idleTimeoutMs)).toEqual([
      65_000, 65_000,
    ]);
    expect(running.map(({ options }) => options!.tcp.noDelay)).toEqual([true, false]);
  });

  it("waits as a whole where live options go only together with others", async () => {
    const stage = await new SupervisorStage(1).serve();
    const wanted = named({ connection: { heartbeatMs: 10_000, idleTimeoutMs: 25_000 } });
    await stage.supervisor.configuration.change(wanted);
    expect(stage.newest.options!.connection).toMatchObject({ idleTimeoutMs: 60_000 });
    expect(stage.supervisor.configuration.report).toMatchObject({
      refused: 0,
      pending: { rolling: ["connection.idleTimeoutMs", "connection.heartbeatMs"] },
    });
    void stage.supervisor.reload();
    expect(stage.newest.startedWith!.connection).toMatchObject({
      heartbeatMs: 10_000,
      idleTimeoutMs: 25_000,
    });
    stage.newest.ready();
    const { report } = stage.supervisor.configuration;
    expect(report.pending).toEqual({ rolling: [], supervisor: [] });
    expect(report.hash).toBe(report.wantedHash);
  });

  it("is what served before, for workers that crash, until a new one has proved it", async () => {
    const stage = await new SupervisorStage(2).serve();
    const { configuration } = stage.supervisor;
    await configuration.change(named({ workers: { application: "none.mjs" } }));
    const reloaded = stage.supervisor.reload();
    expect(stage.newest.startedWith!.workers.application).toBe("none.mjs");
    stage.workers[1]!.exit(70);
    await stage.pass(200);
    expect(stage.newest.start.slot).toBe(1);
    expect(stage.newest.startedWith!.workers.application).toBe(null);
    stage.newest.ready();
    stage.workers[2]!.say({ type: "failed", code: "X", message: "no such file" });
    stage.workers[2]!.exit(1);
    await expect(reloaded).resolves.toMatchObject({
      problem: "slot 0: the new worker failed: no such file",
    });
    stage.workers[0]!.exit(70);
    await stage.pass(200);
    expect(stage.newest.startedWith!.workers.application).toBe(null);
    expect(configuration.report.pending.rolling).toEqual(["workers.application"]);
    expect(configuration.report.hash).not.toBe(configuration.report.wantedHash);
  });

  it("takes the newest of many that come while one is being swapped in", async () => {
    const stage = await new SupervisorStage(1).serve();
    const { configuration } = stage.supervisor;
    const changes = Array.from({ length: 50 }, (_, index) =>
      configuration.change(named({ connection: { idleTimeoutMs: 61_000 + index } })),
    );
    await Promise.all(changes);
    expect(stage.newest.options!.connection.idleTimeoutMs).toBe(61_049);
    expect(configuration.report.accepted).toBeLessThanOrEqual(2);
  });
});

describe("connection.max", () => {
  it("is never exceeded by all shares together, and follows who needs it", async () => {
    const stage = await new SupervisorStage(2, { connection: { max: 100 } }).serve();
    const [first, second] = stage.workers;
    expect(first!.start.isSharing).toBe(true);
    expect([first!.share, second!.share]).toEqual([50, 50]);
    first!.served = 50;
    await stage.pass(2_000);
    expect(first!.share).toBe(75);
    expect(first!.share + second!.share).toBeLessThanOrEqual(100);
  });

  it("is as many as each can hold where it is given up, also for one that starts", async () => {
    const stage = await new SupervisorStage(2, { connection: { max: 100 } }).serve();
    stage.workers[0]!.exit(70);
    await stage.pass(200);
    await stage.supervisor.configuration.change(named());
    await stage.pass(500);
    stage.newest.ready();
    await stage.pass(500);
    expect([stage.workers[1]!.share, stage.newest.share]).toEqual([1_000, 1_000]);
    await stage.supervisor.configuration.change(named({ connection: { max: 10 } }));
    await stage.pass(1_500);
    expect(stage.workers[1]!.share + stage.newest.share).toBe(10);
  });

  it("counts what a draining worker still holds", async () => {
    const stage = await new SupervisorStage(1, { connection: { max: 100 } }).serve();
    await stage.pass(1_000);
    const [old] = stage.workers;
    old!.served = 80;
    await stage.pass(500);
    void stage.supervisor.reload();
    stage.newest.ready();
    await stage.pass(1_500);
    expect(stage.newest.share).toBeLessThanOrEqual(100 - 80);
    old!.served = 0;
    old!.exit(0);
    await stage.pass(1_000);
    expect(stage.newest.share).toBe(100);
  });
});

describe("stopping", () => {
  it("ends a worker that becomes ready in the same moment", async () => {
    const stage = new SupervisorStage(1);
    stage.endsSlowly = true;
    const started = stage.supervisor.start();
    const stopped = stage.supervisor.stop();
    stage.newest.ready();
    expect(stage.newest.heard("drain")).toEqual([{ type: "drain", hasten: true }]);
    stage.newest.exit(null, "SIGKILL");
    await Promise.all([started, stopped]);
    expect(stage.supervisor.state).toBe("stopped");
  });

  it("drains all, closes the sockets at once, and ends with the last worker", async () => {
    const stage = await new SupervisorStage(2).serve();
    let isStopped = false;
    const stopped = stage.supervisor.stop().then(() => {
      isStopped = true;
    });
    expect(stage.isClosed).toBe(true);
    for (const worker of stage.workers) expect(worker.heard("drain")).toHaveLength(1);
    stage.workers[0]!.exit(0);
    await stage.pass(500);
    expect(isStopped).toBe(false);
    stage.workers[1]!.exit(0);
    await stopped;
    expect(stage.supervisor.state).toBe("stopped");
    expect(stage.workers).toHaveLength(2);
    expect(stage.clock.pending).toBe(0);
  });

  it("hastens when told a second time", async () => {
    const stage = await new SupervisorStage(2).serve();
    const stopped = stage.supervisor.stop();
    await stage.supervisor.stop({ hasten: true });
    await stopped;
    expect(stage.workers.every(({ isGone }) => isGone)).toBe(true);
  });

  it("kills workers that do not end in the time that they have", async () => {
    const drain = { graceMs: 1_000, closeSpreadMs: 1_000 };
    const stage = await new SupervisorStage(1, { drain }).serve();
    const stopped = stage.supervisor.stop();
    await stage.pass(7_500);
    await stopped;
    expect(stage.newest.isGone).toBe(true);
  });

  it("ends a rolling restart that is under way, and one that starts", async () => {
    const stage = await new SupervisorStage(2).serve();
    const reloaded = stage.supervisor.reload();
    const stopped = stage.supervisor.stop();
    for (const worker of stage.workers) worker.exit(0);
    await stopped;
    await expect(reloaded).resolves.toMatchObject({ state: "idle", failed: 1 });
    expect(stage.workers).toHaveLength(3);
  });
});

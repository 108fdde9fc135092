// The watch over real sockets and real processes: a Holdfast server, and everything else that may
// stand where its figures should be.
import { type ChildProcess, spawn } from "node:child_process";
import { createServer as createHttp, type Server as Http, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcp, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { machineClock } from "../../src/base/clock.ts";
import {
  parseServerSources,
  type ServerSample,
  ServerWatch,
} from "../../src/probe/server-watch.ts";
import { Server } from "../../src/server/server.ts";
import { RawClient } from "../support/raw-client.ts";

const LOOPBACK = "127.0.0.1";
const atEnd: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of atEnd.splice(0).toReversed()) await end();
});

function watching(...texts: string[]): ServerWatch {
  const watch = new ServerWatch(parseServerSources(texts), machineClock());
  atEnd.push(() => watch.stop());
  return watch;
}

async function until(holds: () => boolean, withinMs: number = 5_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error("it did not come true");
    await delay(5);
  }
}

type Answer = (response: ServerResponse, count: number) => void;

/** An HTTP server, and what it was asked. */
async function http(answer: Answer): Promise<{ url: string; sockets: number; requests: number }> {
  const stand = { url: "", sockets: 0, requests: 0 };
  const server: Http = createHttp((_request, response) => answer(response, ++stand.requests));
  server.on("connection", () => stand.sockets++);
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  atEnd.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  stand.url = `http://${LOOPBACK}:${(server.address() as AddressInfo).port}/stats`;
  return stand;
}

/** What is needed of /stats. */
function stats(changes: Record<string, unknown> = {}): string {
  return JSON.stringify({
    schema: "holdfast.stats/1",
    pid: 7,
    state: "serving",
    uptimeMs: 1_000,
    rssBytes: 1_000,
    cpuMicros: { user: 100_000, system: 50_000 },
    fds: 20,
    fdLimit: 100,
    connections: { total: 5, max: 90 },
    loop: { lagP99Ms: 2 },
    totals: { refused: 3 },
    admission: { accepting: true, turnedAway: 1 },
    closedByReason: { overloaded: 3 },
    ...changes,
  });
}

/** A process that burns CPU for `burnMs` and then sleeps. */
async function busyProcess(burnMs: number): Promise<ChildProcess> {
  const code = `const end = Date.now() + ${burnMs}; console.log("on"); while (Date.now() < end);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  atEnd.push(() => child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  return child;
}

async function startError(watch: ServerWatch): Promise<{ code: unknown; message: string }> {
  const error: unknown = await watch.start().catch((caught: unknown) => caught);
  return error as { code: unknown; message: string };
}

const why = ({ failed }: ServerSample): string =>
  failed.map((one) => `${one.kind}: ${one.why}`).join("; ");

describe("a watched Holdfast server", () => {
  async function started(): Promise<{ server: Server; url: string }> {
    const server = new Server({
      tcp: { host: LOOPBACK, port: 0 },
      websocket: { enabled: false, port: 0 },
      admin: { port: 0 },
    });
    atEnd.push(() => server.stop({ hasten: true }));
    await server.start();
    return { server, url: `http://${LOOPBACK}:${server.addresses()["admin"]!.port}` };
  }

  it("is seen with its memory, files, limits and connections", async () => {
    const { server, url } = await started();
    const watch = watching(url);
    const baseline = await watch.start();
    expect(watch.baseline).toBe(baseline);
    expect(watch.last).toBe(baseline);
    expect(baseline.failed).toEqual([]);
    expect(baseline.figures).toMatchObject({ processes: 1, cpuCores: null, connections: 0 });
    const client = await RawClient.active({
      port: server.addresses()["tcp"]!.port,
      transport: "tcp",
    });
    atEnd.push(() => client.reset());
    await until(() => watch.last!.figures.connections === 1);
    const { figures, processes } = watch.last!;
    expect(processes[0]).toMatchObject({
      source: `${url}/stats`,
      pid: process.pid,
      state: "serving",
      isAccepting: true,
      refused: 0,
      turnedAway: 0,
    });
    expect(processes[0]!.connectionsMax).toBeGreaterThan(0);
    expect(processes[0]!.closedByReason).toMatchObject({ normal: 0, overloaded: 0 });
    expect(figures.rssBytes).toBeGreaterThan(10_000_000);
    expect(figures.fds).toBeGreaterThan(5);
    expect(figures.fdLimit).toBeGreaterThan(figures.fds!);
    expect(figures.loopLagP99Ms).toBeGreaterThanOrEqual(0);
    expect(figures.cpuCores).toBeGreaterThan(0);
    expect(figures.bytesPerConnection).toBeNull();
  });

  it("that stops is told of as refused, and the watch goes on", async () => {
    const { server, url } = await started();
    const watch = watching(url);
    await watch.start();
    await server.stop({ hasten: true });
    const sample = await watch.sample();
    expect(sample.processes).toEqual([]);
    expect(sample.failed[0]!.source).toBe(`${url}/stats`);
    expect(sample.figures).toMatchObject({ processes: 0, rssBytes: null });
    await until(() => why(watch.last!) === "refused: nothing listens there (ECONNREFUSED)");
  });
});

describe("a watched process", () => {
  it("is seen with the CPU time, memory and files that the kernel counts", async () => {
    const child = await busyProcess(10_000);
    const watch = watching(String(child.pid));
    const baseline = await watch.start();
    expect(baseline.figures.cpuCores).toBeNull();
    await until(() => watch.last!.figures.cpuCores !== null);
    const { figures, processes } = watch.last!;
    // Other processes share the machine: it may get less than a whole core.
    expect(figures.cpuCores).toBeGreaterThan(0.2);
    expect(figures.cpuCores).toBeLessThan(1.5);
    expect(figures.rssBytes).toBeGreaterThan(20_000_000);
    expect(figures.fds).toBeGreaterThan(5);
    expect(figures.fdLimit).toBeGreaterThan(figures.fds!);
    expect(processes[0]).toMatchObject({ pid: child.pid, connections: null, state: null });
  });

  it("keeps its last rate where two samples are too near for a new one", async () => {
    const child = await busyProcess(10_000);
    const watch = watching(String(child.pid));
    await watch.start();
    expect((await watch.sample()).figures.cpuCores).toBeNull();
    await until(() => watch.last!.figures.cpuCores !== null);
    const { cpuCores } = watch.last!.figures;
    expect((await watch.sample()).figures.cpuCores).toBe(cpuCores);
  });

  it("that has gone is told of, and counts as nothing beside one that lives", async () => {
    const [first, second] = [await busyProcess(0), await busyProcess(0)];
    const watch = watching(`${first.pid},${second.pid}`);
    const before = await watch.start();
    const ended = new Promise((resolve) => first.once("exit", resolve));
    first.kill("SIGKILL");
    await ended;
    const sample = await watch.sample();
    expect(why(sample)).toBe(`gone: process ${first.pid} has gone`);
    expect(sample.figures.processes).toBe(1);
    expect(sample.figures.rssBytes).toBeLessThan(before.figures.rssBytes!);
    expect(sample.figures.rssBytes).toBe(sample.processes[0]!.rssBytes);
  });

  it("that is a zombie has gone", async () => {
    // The shell's child ends while the program that took the shell's place never asks for it.
    const shell = spawn("sh", ["-c", "sleep 0.3 & echo $!; exec sleep 60"], { stdio: "pipe" });
    atEnd.push(() => shell.kill("SIGKILL"));
    const zombie = await new Promise<string>((resolve) => {
      shell.stdout.once("data", (text: Buffer) => resolve(String(text).trim()));
    });
    const watch = watching(zombie);
    await watch.start();
    await until(() => watch.last!.failed.length > 0);
    expect(why(watch.last!)).toBe(`gone: process ${zombie} has gone`);
  });

  it("that does not exist is refused at the start", async () => {
    const child = await busyProcess(0);
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    const { code, message } = await startError(watching(String(child.pid)));
    expect(code).toBe("HOLDFAST_CONNECT_FAILED");
    expect(message).toContain(`pid ${child.pid}: there is no process ${child.pid}`);
  });
});

describe("several sources", () => {
  it("are summed, and the worst loop lag is taken", async () => {
    const one = await http((response) => void response.end(stats()));
    const other = await http((response) => {
      response.end(stats({ pid: 8, rssBytes: 500, loop: { lagP99Ms: 40 } }));
    });
    const { figures, processes } = await watching(one.url, other.url).start();
    expect(processes.map(({ pid }) => pid)).toEqual([7, 8]);
    expect(figures).toEqual({
      processes: 2,
      rssBytes: 1_500,
      cpuCores: null,
      fds: 40,
      fdLimit: 200,
      connections: 10,
      loopLagP99Ms: 40,
      bytesPerConnection: null,
    });
  });

  it("have no sum while one of them is silent, so that nothing seems to fall", async () => {
    const one = await http((response) => void response.end(stats()));
    const other = await http((response, count) => {
      if (count === 1) response.end(stats());
      else response.socket!.destroy();
    });
    const watch = watching(one.url, other.url);
    await watch.start();
    const { figures, processes, failed } = await watch.sample();
    expect(processes).toHaveLength(1);
    expect(failed[0]!.kind).toBe("silent");
    expect(figures).toMatchObject({ processes: 1, rssBytes: null, fds: null, loopLagP99Ms: 2 });
  });

  it("are compared by their own clocks for CPU time", async () => {
    const { url } = await http((response, count) => {
      // 0.9 cores by the server's clock, however soon it is asked again.
      const uptimeMs = count * 2_000;
      response.end(stats({ uptimeMs, cpuMicros: { user: count * 1_800_000, system: 0 } }));
    });
    const watch = watching(url);
    await watch.start();
    expect((await watch.sample()).figures.cpuCores).toBeCloseTo(0.9, 9);
  });

  it("that are one process are refused, for it would count twice", async () => {
    const child = await busyProcess(0);
    const { url } = await http((response) => void response.end(stats({ pid: child.pid })));
    const { code, message } = await startError(watching(url, String(child.pid)));
    expect(code).toBe("HOLDFAST_OPTIONS_INVALID");
    expect(message).toContain(`"pid ${child.pid}" is a process that ${url} tells of as well`);
  });

  it("have no rate where the process is another one", async () => {
    const { url } = await http((response, count) => {
      response.end(stats({ pid: count, uptimeMs: count * 2_000 }));
    });
    const watch = watching(url);
    await watch.start();
    expect((await watch.sample()).figures.cpuCores).toBeNull();
  });
});

describe("a supervisor with workers", () => {
  const worker = (slot: number, changes: Record<string, unknown> = {}) => ({
    slot,
    worker: slot + 1,
    pid: 100 + slot,
    state: "serving",
    connections: 50 + slot,
    connectionsMax: 90,
    rssBytes: 1_000,
    cpuMicros: { user: 100_000, system: 0 },
    uptimeMs: 1_000,
    fds: 60 + slot,
    fdLimit: 100,
    lagP99Ms: slot,
    ...changes,
  });

  function supervised(workers: unknown, changes: Record<string, unknown> = {}): string {
    return stats({
      rssBytes: 2_500,
      connections: { total: 101, max: 180 },
      supervisor: { pid: 9, rssBytes: 500, cpuMicros: { user: 1, system: 0 }, fds: 7 },
      workers,
      ...changes,
    });
  }

  async function seen(...texts: string[]): Promise<ServerSample> {
    const stand = await http((response, count) => {
      void response.end(texts[Math.min(count, texts.length) - 1]);
    });
    const watch = watching(stand.url);
    await watch.start();
    let last = watch.last!;
    for (let more = 1; more < texts.length; more++) last = await watch.sample();
    return last;
  }

  it("is seen process by process, and nothing counts twice", async () => {
    const { figures, processes } = await seen(supervised([worker(0), worker(1)]));
    expect(figures).toMatchObject({
      processes: 3,
      rssBytes: 2_500,
      fds: 7 + 60 + 61,
      connections: 101,
      loopLagP99Ms: 1,
    });
    expect(processes.map(({ pid }) => pid)).toEqual([9, 100, 101]);
    expect(processes[0]).toMatchObject({ connections: 0, refused: 3, connectionsMax: null });
    expect(processes[2]).toMatchObject({ connections: 51, connectionsMax: 90, fds: 61 });
    expect(processes[2]!.source).toMatch(/\/stats slot 1$/);
    expect(processes[2]!.refused).toBeNull();
  });

  it("has a rate for each worker, and none for one that was replaced", async () => {
    const later = { uptimeMs: 2_000, cpuMicros: { user: 600_000, system: 0 } };
    const { processes } = await seen(
      supervised([worker(0), worker(1)]),
      supervised([worker(0, later), worker(1, { ...later, pid: 555 })]),
    );
    expect(processes[1]!.cpuCores).toBeCloseTo(0.5, 5);
    expect(processes[2]).toMatchObject({ pid: 555, cpuCores: null });
  });

  it("keeps one that drains apart from its successor, and leaves out one that starts", async () => {
    const nothing = { rssBytes: null, cpuMicros: null, connections: null, fds: null };
    const { processes, figures } = await seen(
      supervised([
        worker(0, { state: "draining", worker: 1 }),
        worker(0, { pid: 200, worker: 3 }),
        worker(1, { state: "starting", ...nothing }),
      ]),
    );
    expect(processes.map(({ source }) => source.split("/stats")[1])).toEqual([
      "",
      " slot 0, draining",
      " slot 0",
    ]);
    expect(figures).toMatchObject({ processes: 3, connections: 100 });
  });

  it("has no sum while a worker does not answer", async () => {
    const silent = worker(1, { rssBytes: null, connections: null });
    const { figures } = await seen(supervised([worker(0), silent]));
    expect(figures).toMatchObject({ processes: 3, rssBytes: null, connections: null });
  });

  it.each([
    ["no list", 7],
    ["null", null],
    ["a list of nothing", []],
  ])("that tells of workers as %s is one process", async (_what, workers) => {
    const { processes } = await seen(supervised(workers));
    expect(processes).toHaveLength(1);
  });

  it.each([[null], ["worker"], [{}], [{ slot: -1, pid: "x", cpuMicros: 3 }]])(
    "knows nothing of a worker that is told of as %j",
    async (row) => {
      const { processes, figures } = await seen(supervised([row]));
      expect(processes[1]).toMatchObject({ pid: null, rssBytes: null, connections: null });
      expect(figures.rssBytes).toBeNull();
    },
  );
});

describe("a source that answers with something else", () => {
  const json =
    (text: string): Answer =>
    (response) =>
      void response.end(text);
  const status =
    (code: number): Answer =>
    (response) =>
      void response.writeHead(code, { location: "http://127.0.0.1:1/" }).end("{}");

  it.each<[string, Answer, RegExp]>([
    ["no JSON", json("<html>"), /^answer: answered with something that is no JSON$/],
    ["nothing", json(""), /is no JSON/],
    ["null", json("null"), /answered with no schema where holdfast.stats\/1 was expected/],
    ["an array", json("[1]"), /no schema/],
    ["no object", json("5"), /no schema/],
    ["another schema", json('{"schema":"holdfast.stats/2"}'), /with "holdfast.stats\/2" where/],
    ["status 404", status(404), /^answer: answered with status 404: it is not the path of a /],
    ["status 503", status(503), /^answer: answered with status 503$/],
    ["status 302", status(302), /^answer: answered with status 302: redirects are not followed$/],
    ["a megabyte too much", json("x".repeat(1_048_577)), /^answer: answered with more than 1 MiB$/],
    [
      "half an answer",
      (response) => {
        response.writeHead(200, { "content-length": "100" }).write("{");
        setImmediate(() => response.socket!.destroy());
      },
      /^silent: the connection ended before the answer \(ECONNRESET\)$/,
    ],
  ])("%s is refused at the start, and noted later", async (_, answer, expected) => {
    const refused = await http(answer);
    const { code, message } = await startError(watching(refused.url));
    expect(code).toBe("HOLDFAST_CONNECT_FAILED");
    expect(message).toContain(`--server-stats cannot be read: ${refused.url}: `);

    const later = await http((response, count) => {
      if (count === 1) response.end(stats());
      else answer(response, count);
    });
    const watch = watching(later.url);
    await watch.start();
    expect(why(await watch.sample())).toMatch(expected);
  });

  it("a port where nothing listens is refused at the start", async () => {
    const { message } = await startError(watching("http://127.0.0.1:1"));
    expect(message).toContain("http://127.0.0.1:1/stats: nothing listens there (ECONNREFUSED)");
  });

  it("bytes that are no HTTP are refused at the start", async () => {
    const server = createTcp((socket: Socket) => void socket.end("SSH-2.0-x\r\n"));
    await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
    atEnd.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    const { message } = await startError(watching(`http://${LOOPBACK}:${port}`));
    expect(message).toContain("answered with something that is no HTTP (HPE_INVALID_CONSTANT)");
  });

  it("figures of the wrong kind are not known, and the others are", async () => {
    const wrong = { rssBytes: "1", fds: -1, fdLimit: null, connections: 5, loop: null, pid: [] };
    const { url } = await http((response) => {
      response.end(stats({ ...wrong, state: 7, cpuMicros: {}, closedByReason: { a: 1, b: "2" } }));
    });
    const [process] = (await watching(url).start()).processes;
    expect(process).toMatchObject({
      pid: null,
      rssBytes: null,
      fds: null,
      fdLimit: null,
      connections: null,
      loopLagP99Ms: null,
      cpuMs: null,
      state: null,
      refused: 3,
      closedByReason: { a: 1 },
    });
  });
});

describe("a source that hangs", () => {
  it("is given up after 2 s, while no second request is sent to it", async () => {
    const stand = await http((response, count) => {
      if (count === 1) response.end(stats());
    });
    const watch = watching(stand.url);
    await watch.start();
    const begun = performance.now();
    const first = watch.sample();
    expect(watch.sample()).toBe(first);
    await delay(1_500);
    expect(watch.sample()).toBe(first);
    expect(why(await first)).toBe("silent: no answer within 2 s");
    expect(performance.now() - begun).toBeGreaterThan(1_900);
    expect(performance.now() - begun).toBeLessThan(4_000);
    expect(stand.requests).toBe(2);
  });

  it("does not keep stop() waiting, nor does a sample after it throw", async () => {
    const stand = await http((response, count) => {
      if (count === 1) response.end(stats());
    });
    const watch = watching(stand.url);
    await watch.start();
    const under = watch.sample();
    await until(() => stand.requests === 2);
    watch.stop();
    expect((await under).failed).toHaveLength(1);
    await delay(50);
    expect(stand.requests).toBe(2);
  });

  it("has answered if its answer only waits to be read, for this process stood still", async () => {
    const child = spawn(
      process.execPath,
      [
        "-e",
        `const body = ${JSON.stringify(stats())};
        require("node:http").createServer((_, answer) => setTimeout(() => answer.end(body), 100))
          .listen(0, "${LOOPBACK}", function () { console.log(this.address().port); });`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    atEnd.push(() => child.kill("SIGKILL"));
    const port = await new Promise<string>((resolve) => {
      child.stdout.once("data", (text: Buffer) => resolve(String(text).trim()));
    });
    const watch = watching(`http://${LOOPBACK}:${port}`);
    await watch.start();
    const sample = watch.sample();
    await delay(50);
    // In this phase of the loop timers that are overdue come before what there is to read.
    await new Promise<void>((resolve) => {
      setImmediate(() => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500);
        resolve();
      });
    });
    expect(why(await sample)).toBe("");
  });
});

describe("the watch itself", () => {
  it("samples once a second over one kept connection, until it is stopped", async () => {
    const stand = await http((response) => void response.end(stats()));
    const watch = watching(stand.url);
    await watch.start();
    await delay(2_300);
    expect(stand.requests).toBe(3);
    expect(stand.sockets).toBe(1);
    watch.stop();
    await delay(1_200);
    expect(stand.requests).toBe(3);
  });

  it("asks again where a kept connection was closed under it", async () => {
    const answered = new WeakSet<Socket>();
    const stand = await http((response) => {
      const socket = response.socket!;
      // As where the server's time for idle connections ran out while the request was on its way.
      if (answered.has(socket)) return void socket.resetAndDestroy();
      answered.add(socket);
      response.end(stats());
    });
    const watch = watching(stand.url);
    await watch.start();
    expect(why(await watch.sample())).toBe("");
    expect(stand).toMatchObject({ sockets: 2, requests: 3 });
  });

  it("asks once more and not for ever", async () => {
    const stand = await http((response, count) => {
      if (count === 1) response.end(stats());
      else response.socket!.resetAndDestroy();
    });
    const watch = watching(stand.url);
    await watch.start();
    expect(why(await watch.sample())).toContain("ended before the answer (ECONNRESET)");
    expect(stand.requests).toBe(3);
  });
});

// The module that an application brings: loaded by every worker, replaced by a rolling restart, and
// no danger to what serves already when it is broken.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { hasNative } from "../support/native.ts";
import { LoadClient } from "../support/load-client.ts";
import { call } from "../support/raw-message.ts";
import { signal, SupervisedServer } from "../support/supervised-server.ts";

const SOON = ["--drain-grace-ms=300", "--drain-close-spread-ms=100", "--websocket-enabled=false"];

interface Application {
  readonly flags: readonly string[];
  write(code: string): void;
}

function application(code: string): Application {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-application-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "application.mjs");
  const write = (text: string): void => writeFileSync(file, text);
  write(code);
  return { flags: [...SOON, `--workers-application=${file}`], write };
}

const saying = (version: string): string => `
  export default async (server) => {
    server.method("version", () => Buffer.from("${version}"));
    server.method("crash", () => {
      setTimeout(() => { throw new Error("a defect of the application"); }, 1);
      return new Uint8Array();
    });
  };`;

async function connect(server: SupervisedServer): Promise<LoadClient> {
  const client = await LoadClient.open({ transport: "tcp", port: server.ports.tcp });
  onTestFinished(() => client.destroy());
  return client;
}

/** What each of twenty new clients is told: both workers are among those that answer. */
async function versions(server: SupervisedServer): Promise<string[]> {
  const told = new Set<string>();
  for (let count = 0; count < 20; count++) {
    const client = await connect(server);
    const answer = await client.ask((id) => call(id, "version"));
    told.add(answer.body === "result" ? answer.payload.toString() : JSON.stringify(answer));
    await client.leave();
  }
  return [...told];
}

const start = (flags: readonly string[], workers = 2): Promise<SupervisedServer> =>
  SupervisedServer.start({ workers, flags }, onTestFinished);

test("new code is served after a reload, and only then", async () => {
  const { flags, write } = application(saying("first"));
  const server = await start(flags);
  expect(await versions(server)).toEqual(["first"]);
  write(saying("second"));
  expect(await versions(server)).toEqual(["first"]);
  expect(await server.reload()).toMatchObject({ completed: 1, failed: 0, problem: null });
  expect(await versions(server)).toEqual(["second"]);
  expect(await server.stop()).toBe(0);
  await server.nothingIsLeft();
});

test("a storm of orders to reload makes two reloads: the one under way and one more", async () => {
  const { flags } = application(saying("calm"));
  const server = await start(flags);
  await Promise.all(Array.from({ length: 30 }, () => server.order("/reload")));
  for (let count = 0; count < 20; count++) server.child.kill("SIGHUP");
  const isIdle = async (): Promise<boolean> => {
    const { state, completed } = await server.reloadState();
    return state === "idle" && completed === 2;
  };
  await server.until(isIdle, "two reloads are over");
  expect(server.workerPids.size, "two workers, three times").toBe(6);
  expect(await versions(server)).toEqual(["calm"]);
  expect(server.workerPids.size).toBe(6);
});

/** Each fails in another way. */
const BAD = [
  "export default () => new Promise(() => setInterval(() => {}, 1_000));",
  'export default () => { throw new Error("not today"); };',
  'import "./nowhere.mjs";',
  "export default {",
  "export const a = 1;",
  "process.exit(0);",
] as const;

test("a reload leaves every old worker serving where the new module does not come up", async () => {
  const { flags, write } = application(saying("old"));
  const server = await start([...flags, "--workers-ready-timeout-ms=2000"]);
  const held = await connect(server);
  const before = (await server.workers()).map(({ pid }) => pid);
  for (const [index, code] of BAD.entries()) {
    write(code);
    const report = await server.reload();
    expect(report, code).toMatchObject({ completed: 0, failed: index + 1 });
    expect(report.problem, code).toContain("slot 0");
    expect((await server.workers()).map(({ pid }) => pid)).toEqual(before);
    expect((await server.get("/readyz")).status).toBe(200);
    expect(await versions(server)).toEqual(["old"]);
  }
  expect(held.goAway).toBeNull();
  write(saying("mended"));
  await server.until(async () => (await server.reload()).problem === null, "it comes up");
  expect(await versions(server)).toEqual(["mended"]);
});

test.skipIf(!hasNative)(
  "a slot whose workers fail at their start is given up after five",
  async () => {
    const { flags, write } = application(saying("sound"));
    const server = await start(flags);
    const [victim] = await server.workers();
    write('export default () => { throw new Error("poisoned"); };');
    signal(victim!.pid, "SIGKILL");
    const broken = async (): Promise<boolean> => (await server.get("/readyz")).status === 503;
    await server.until(broken, "readiness fails");
    expect(await (await server.get("/readyz")).text()).toContain("Slots: 0");
    const started = server.workerPids.size;
    expect(started, "two at first, and four more in slot 0").toBe(6);
    expect(await versions(server), "its sibling serves whoever knocks").toEqual(["sound"]);
    expect(server.workerPids.size, "none is started meanwhile").toBe(started);
    const failures = server.log.filter(({ failure }) =>
      String(JSON.stringify(failure)).includes("poisoned"),
    );
    expect(failures.length).toBeGreaterThan(0);
    write(saying("antidote"));
    expect(await server.reload()).toMatchObject({ problem: null });
    expect((await server.get("/readyz")).status).toBe(200);
    expect(await versions(server)).toEqual(["antidote"]);
  },
);

test.skipIf(!hasNative)(
  "a module that throws later ends its own worker, which is replaced",
  async () => {
    const { flags } = application(saying("throwing"));
    const server = await start(flags);
    const victim = await connect(server);
    const clients = await Promise.all(Array.from({ length: 20 }, () => connect(server)));
    victim.ask((id) => call(id, "crash")).catch(() => {});
    await victim.ended;
    await server.until(async () => {
      const { workers, supervisor } = await server.stats();
      return supervisor.restarts === 1 && workers.every(({ state }) => state === "serving");
    }, "it is replaced");
    expect((await server.stats()).supervisor).toMatchObject({ crashes: 1, breakersOpen: [] });
    const last = await server.logged(({ level }) => level === "fatal", "its end is in the log");
    expect(last).toMatchObject({ err: { message: "a defect of the application" } });
    const left = clients.filter(({ hasEnded }) => !hasEnded);
    expect(left.length).toBeGreaterThan(0);
    for (const client of left) {
      expect(await client.ask((id) => call(id, "version"))).toMatchObject({ body: "result" });
    }
    expect(await versions(server)).toEqual(["throwing"]);
  },
);

test.each([
  ["throws", 'export default () => { throw new Error("not today"); };', /not today/],
  ["is not there", null, /cannot load the application/],
])("a server whose module %s does not start, and leaves nothing", async (_what, code, told) => {
  const { flags } = application(code ?? "");
  const given = code === null ? [...SOON, "--workers-application=/nowhere/application.mjs"] : flags;
  const server = SupervisedServer.launch({ workers: 2, flags: given }, onTestFinished);
  expect(await server.ended).toBe(1);
  expect(server.errorText).toMatch(told);
  expect(server.errorText.trim().split("\n")).toHaveLength(1);
});

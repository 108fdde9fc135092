// The configuration file is written a thousand times, often badly, while clients are connected:
// what is served is always one whole configuration, and nobody notices but by what it says.
import { execFileSync } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { Prng } from "../../src/base/prng.ts";
import { configHash } from "../../src/config/option-changes.ts";
import { resolveOptions } from "../../src/config/resolve.ts";
import { hasNative } from "../support/native.ts";
import { LoadClient } from "../support/load-client.ts";
import { subscribe } from "../support/raw-message.ts";
import { LOOPBACK, SupervisedServer } from "../support/supervised-server.ts";

const WRITES = 1_000;
const HELD = 200;
const WORKERS = 2;
const SOON = { graceMs: 300, closeSpreadMs: 200 } as const;
/** A file is read once a second at most: as long as this something stays now and then. */
const STAYS_MS = 1_300;
/** As often after a broken one (which every third is, from 1 on) as after a whole one. */
const STAYING: ReadonlySet<number> = new Set([100, 300, 400, 600, 700, 900]);

/** One option at its beginning and one at its end: half of it is none that was ever whole. */
function textOf(limit: number): string {
  return [
    "# Whole to the last line.",
    `topic: { nameBytesMax: ${limit} }`,
    `drain: { graceMs: ${SOON.graceMs}, closeSpreadMs: ${SOON.closeSpreadMs} }`,
    `label: { bytesMax: ${limit} }`,
    "...",
    "",
  ].join("\n");
}

/** What no server may ever take up, each worse in another way. */
const BROKEN: readonly ((text: string, prng: Prng) => string | Buffer)[] = [
  (text, prng) => text.slice(0, prng.int(0, text.length - 5)),
  (text) => text.replace(/bytesMax: \d+/, "bytesMax: many"),
  (text) => text.replace("label:", "lable:"),
  (text) => text.replace("{", "[["),
  (text, prng) => Buffer.from(text).fill(0xff, prng.int(30, 40), 80),
  (text) => `${text}${text}`,
  (text) => text.replace(/nameBytesMax: \d+/, "nameBytesMax: 99999999"),
  () => "",
];

/** As the program makes it of the file and of what {@link SupervisedServer} tells it. */
function hashOf(file: string, text: string): string {
  const anyPort = { host: LOOPBACK, port: 0 };
  const code = {
    tcp: anyPort,
    websocket: anyPort,
    admin: { port: 0 },
    workers: { count: WORKERS },
    node: { name: "storm" },
    log: { pretty: false },
  };
  return configHash(resolveOptions({ code, file, text }).options);
}

interface Storm {
  readonly file: string;
  readonly prng: Prng;
  /** Hashes of all that were written whole. */
  readonly whole: Set<string>;
  broken: number;
}

/** One write: in place, in two halves, or by rename. */
function write({ file, prng }: Storm, content: string | Buffer): void {
  const bytes = Buffer.from(content);
  const way = prng.int(0, 2);
  if (way === 0) {
    writeFileSync(file, bytes);
  } else if (way === 1) {
    const half = bytes.length >> 1;
    writeFileSync(file, bytes.subarray(0, half));
    writeFileSync(file, bytes.subarray(half), { flag: "a" });
  } else {
    writeFileSync(`${file}.new`, bytes);
    renameSync(`${file}.new`, file);
  }
}

function writeNext(storm: Storm, count: number): void {
  const { prng, whole, file } = storm;
  const text = textOf(100 + count);
  if (count % 3 === 1) {
    storm.broken++;
    write(storm, BROKEN[prng.int(0, BROKEN.length - 1)]!(text, prng));
    return;
  }
  // Before it is there to be read.
  whole.add(hashOf(file, text));
  write(storm, text);
}

test.skipIf(!hasNative)(
  `${WRITES} writes, a third of them broken, leave a configuration that was whole`,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-storm-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, "holdfast.yaml");
    const storm: Storm = { file, prng: new Prng(7), whole: new Set(), broken: 0 };
    const first = textOf(99);
    storm.whole.add(hashOf(file, first));
    writeFileSync(file, first);
    const flags = [`--config=${file}`, "--node-name=storm"];
    const server = await SupervisedServer.start({ workers: WORKERS, flags }, onTestFinished);
    expect(await hashesOf(server)).toEqual([...storm.whole]);
    const held = await hold(server);
    const before = await server.workers();
    const strange = await writeAndWatch(server, storm);
    expect(strange, "hashes of no configuration that was ever whole").toEqual([]);
    const last = textOf(2_000);
    writeFileSync(file, last);
    storm.whole.add(hashOf(file, last));
    await server.until(
      async () => (await hashesOf(server)).join() === hashOf(file, last),
      "all workers have the last one",
    );
    for (const client of held) await limitIs(client, 2_000);
    const { supervisor } = await server.stats();
    expect(supervisor.config.refused).toBeGreaterThan(2);
    expect(supervisor.config.taken).toBeGreaterThan(3);
    expect(supervisor).toMatchObject({ restarts: 0, crashes: 0 });
    const pidsOf = (rows: readonly { pid: number }[]): number[] => rows.map(({ pid }) => pid);
    expect(pidsOf(await server.workers())).toEqual(pidsOf(before));
    expect(held.filter(({ hasEnded, goAway }) => hasEnded || goAway !== null)).toEqual([]);
    for (const client of held) client.destroy();
    expect(await server.stop()).toBe(0);
    await server.nothingIsLeft();
  },
  120_000,
);

/** Of the supervisor and of every worker; each once. */
async function hashesOf(server: SupervisedServer): Promise<string[]> {
  const { workers, supervisor } = await server.stats();
  return [
    ...new Set([supervisor.config.hash, ...workers.map(({ configHash }) => String(configHash))]),
  ];
}

async function hold(server: SupervisedServer): Promise<LoadClient[]> {
  const { tcp, websocket } = server.ports;
  const held = await Promise.all(
    Array.from({ length: HELD }, (_, index) =>
      LoadClient.open(
        index % 2 === 0
          ? { transport: "tcp", port: tcp }
          : { transport: "websocket", port: websocket },
      ),
    ),
  );
  onTestFinished(() => held.forEach((client) => client.destroy()));
  return held;
}

/** @returns hashes that were served and belong to nothing whole */
async function writeAndWatch(server: SupervisedServer, storm: Storm): Promise<string[]> {
  const strange = new Set<string>();
  const look = async (): Promise<void> => {
    for (const hash of await hashesOf(server)) if (!storm.whole.has(hash)) strange.add(hash);
  };
  for (let count = 0; count < WRITES; count++) {
    writeNext(storm, count);
    if (count % 20 === 0) await look();
    await delay(STAYING.has(count) ? STAYS_MS : 2);
  }
  await look();
  expect(storm.broken).toBeGreaterThanOrEqual(Math.floor(WRITES / 3));
  return [...strange];
}

/** What the option does, not what it says. */
async function limitIs(client: LoadClient, bytes: number): Promise<void> {
  const fits = await client.ask((id) => subscribe(id, "t".repeat(bytes)));
  expect(fits.body).toBe("result");
  const tooLong = await client.ask((id) => subscribe(id, "t".repeat(bytes + 1)));
  expect(tooLong).toMatchObject({ body: "failure", failure: { code: 3 } });
}

test("SIGHUP with a broken file keeps the configuration, and every worker", async () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-hup-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "holdfast.yaml");
  writeFileSync(file, textOf(200));
  const flags = [`--config=${file}`, "--tcp-transport=tcp-net", "--websocket-enabled=false"];
  const server = await SupervisedServer.start({ workers: 2, flags }, onTestFinished);
  const [hash] = await hashesOf(server);
  const pids = [...server.workerPids];
  for (const content of ["topic: { nameBytesMax: -1 }\n...\n", "topic: {\n", ""]) {
    writeFileSync(file, content);
    const { refused } = (await server.stats()).supervisor.config;
    server.child.kill("SIGHUP");
    await server.until(
      async () => (await server.stats()).supervisor.config.refused > refused,
      `${JSON.stringify(content)} is refused`,
    );
  }
  rmSync(file);
  server.child.kill("SIGHUP");
  await delay(1_500);
  expect(await hashesOf(server)).toEqual([hash]);
  expect([...server.workerPids], "no worker was restarted").toEqual(pids);
  expect(
    await server.metric('holdfast_config_changes_total{outcome="refused"}'),
  ).toBeGreaterThanOrEqual(3);
  writeFileSync(file, textOf(300));
  server.child.kill("SIGHUP");
  await server.until(() => server.workerPids.size === 4, "with a whole file both are restarted");
  await server.until(async () => (await server.reloadState()).completed === 1, "it is done");
  expect(await hashesOf(server)).not.toContain(hash);
  expect(await server.stop()).toBe(0);
});

test("SIGHUP while it starts is refused and does not end it", async () => {
  const flags = ["--tcp-transport=tcp-net", "--websocket-enabled=false"];
  const server = SupervisedServer.launch({ workers: 1, flags }, onTestFinished);
  await server.logged(({ msg }) => msg === "a worker starts", "it starts");
  server.child.kill("SIGHUP");
  await server.logged(({ msg }) => String(msg).startsWith("SIGHUP:"), "it is told");
  await server.serving();
  expect((await server.reloadState()).completed).toBe(0);
  expect(await server.stop()).toBe(0);
});

test("a configuration that came through a pipe is not watched, and hinders no reload", async () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-fifo-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "holdfast.yaml");
  execFileSync("mkfifo", [file]);
  const flags = [`--config=${file}`, "--tcp-transport=tcp-net", "--websocket-enabled=false"];
  const server = SupervisedServer.launch({ workers: 1, flags }, onTestFinished);
  writeFileSync(file, textOf(200));
  await server.serving();
  expect((await server.stats()).supervisor.config.refused).toBe(0);
  expect(await server.reload()).toMatchObject({ problem: null, completed: 1 });
  expect(await server.stop()).toBe(0);
});

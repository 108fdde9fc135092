import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Prng } from "../../src/base/prng.ts";
import { type ConfigVerdict, ConfigWatch } from "../../src/config/config-watch.ts";
import { resolveOptions, type ResolvedOptions } from "../../src/config/resolve.ts";
import { ManualClock } from "../support/manual-clock.ts";

const POLL_MS = 2_000;
const START = "tcp:\n  port: 7000\n";

let folder: string;
let file: string;
let scene: Scene;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-watch-"));
  file = join(folder, "holdfast.yaml");
});

afterEach(() => {
  scene.watch.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** A real file, time in the test's hands, and folders that tell nothing unless told to. */
class Scene {
  readonly clock: ManualClock = new ManualClock();
  /** Ports of the options that were told. */
  readonly ports: number[] = [];
  readonly refusals: string[] = [];
  readonly watched: string[] = [];
  readonly watch: ConfigWatch;
  /** Times that a text was parsed. */
  reads: number = 0;
  watchFails: boolean = false;
  #onEvent: () => void = () => {};
  #onFailed: () => void = () => {};

  constructor(text: string, path: string = file) {
    this.watch = new ConfigWatch({
      file: path,
      text,
      options: resolved(text, path).options,
      read: (given) => {
        this.reads++;
        return resolved(given, path);
      },
      clock: this.clock,
      onOptions: ({ options }) => this.ports.push(options.tcp.port),
      onRefused: ({ message }) => this.refusals.push(message),
      watchFolder: (watchedFolder, onEvent, onFailed) => {
        if (this.watchFails) throw Object.assign(new Error("inotify"), { code: "ENOSPC" });
        this.watched.push(watchedFolder);
        this.#onEvent = onEvent;
        this.#onFailed = onFailed;
        return { close: () => {} };
      },
    });
  }

  event(): void {
    this.#onEvent();
  }

  fail(): void {
    this.#onFailed();
  }
}

function resolved(text: string, path: string): ResolvedOptions {
  return resolveOptions({ file: path, text });
}

async function started(text: string = START): Promise<Scene> {
  writeFileSync(file, text);
  scene = new Scene(text);
  scene.watch.start();
  await scene.clock.advance(POLL_MS);
  expect(scene).toMatchObject({ ports: [], refusals: [] });
  return scene;
}

/** Long enough for anything that is going to be told. */
async function later(): Promise<void> {
  await scene.clock.advance(2 * POLL_MS);
}

function textFor(port: number): string {
  return `tcp:\n  port: ${port}\n`;
}

function replace(text: string | Buffer): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

describe("a change that is whole", () => {
  it("is told once, a tenth of a second after it was read", async () => {
    const { clock, ports } = await started();
    writeFileSync(file, textFor(7_001));
    scene.event();
    await clock.advance(99);
    expect(scene.reads).toBe(0);
    await clock.advance(101);
    expect(ports).toEqual([7_001]);
    await later();
    expect(ports).toEqual([7_001]);
    expect(scene.refusals).toEqual([]);
  });

  it.each([
    ["a rename over it", () => replace(textFor(7_001))],
    [
      "an editor that moves the old one away",
      () => {
        renameSync(file, `${file}~`);
        writeFileSync(file, textFor(7_001));
      },
    ],
    [
      "truncation and writing",
      () => {
        truncateSync(file);
        appendFileSync(file, textFor(7_001));
      },
    ],
    [
      "writing that keeps size and time",
      () => {
        utimesSync(file, 1_000, 1_000);
        writeFileSync(file, textFor(7_001));
        utimesSync(file, 1_000, 1_000);
      },
    ],
  ])("may come by %s, seen by the poll alone", async (_how, write) => {
    await started();
    write();
    await later();
    expect(scene).toMatchObject({ ports: [7_001], refusals: [] });
  });

  it("comes by a swapped folder link, as Kubernetes does it", async () => {
    for (const [name, port] of [
      ["..1", 7_000],
      ["..2", 7_001],
    ] as const) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "holdfast.yaml"), textFor(port));
    }
    symlinkSync("..1", join(folder, "..data"));
    symlinkSync(join("..data", "holdfast.yaml"), file);
    scene = new Scene(START);
    scene.watch.start();
    expect(scene.watched).toEqual([folder, join(folder, "..1")]);
    await later();
    symlinkSync("..2", join(folder, "..new"));
    renameSync(join(folder, "..new"), join(folder, "..data"));
    scene.event();
    await scene.clock.advance(200);
    expect(scene).toMatchObject({ ports: [7_001], refusals: [] });
    expect(scene.watched.slice(2)).toEqual([folder, join(folder, "..2")]);
  });

  it("is found where it came between reading the options and start()", async () => {
    writeFileSync(file, textFor(7_001));
    scene = new Scene(START);
    scene.watch.start();
    await scene.clock.advance(100);
    expect(scene.ports).toEqual([7_001]);
  });

  it("comes after a folder that was removed and made again", async () => {
    await started();
    rmSync(folder, { recursive: true });
    await later();
    expect(scene.refusals).toEqual([expect.stringContaining("does not exist")]);
    mkdirSync(folder);
    writeFileSync(file, textFor(7_001));
    await later();
    expect(scene.ports).toEqual([7_001]);
    expect(scene.watched.length).toBeGreaterThan(1);
  });
});

describe("what changes nothing is not told", () => {
  it.each([
    ["the same text again", START],
    ["another text with the same options", `# why\n${START}`],
  ])("%s", async (_name, text) => {
    await started();
    replace(text);
    await later();
    expect(scene).toMatchObject({ ports: [], refusals: [] });
  });

  it("a file that vanished and came back as it was", async () => {
    await started();
    rmSync(file);
    await later();
    writeFileSync(file, START);
    await later();
    expect(scene.ports).toEqual([]);
    expect(scene.refusals).toHaveLength(1);
  });

  it("a file that is away for less than a tenth of a second", async () => {
    await started();
    rmSync(file);
    scene.event();
    await scene.clock.advance(150);
    replace(START);
    await later();
    expect(scene).toMatchObject({ ports: [], refusals: [] });
  });

  it("a text at the start that would be refused as a change", async () => {
    await started("tcp:\n  port: 7000");
    scene.event();
    await later();
    expect(scene).toMatchObject({ ports: [], refusals: [] });
  });

  it("other files of the folder: they cost no reading", async () => {
    await started();
    for (let i = 0; i < 50; i++) {
      writeFileSync(join(folder, "other"), String(i));
      scene.event();
      await scene.clock.advance(20);
    }
    expect(scene).toMatchObject({ ports: [], refusals: [], reads: 0 });
  });
});

describe("what cannot be taken is refused once, with its reason", () => {
  const fifo = (): void => {
    rmSync(file);
    execFileSync("mkfifo", [file]);
  };
  it.each<[string, string, () => void]>([
    ["a file that vanished", "does not exist", () => rmSync(file)],
    [
      "a directory",
      "is a directory",
      () => {
        rmSync(file);
        mkdirSync(file);
      },
    ],
    ["a pipe, which nobody writes", "is no regular file", fifo],
    [
      "a link to itself",
      "is a symbolic link that leads to itself",
      () => {
        rmSync(file);
        symlinkSync(file, file);
      },
    ],
    [
      "a device without end",
      "is no regular file",
      () => {
        rmSync(file);
        symlinkSync("/dev/zero", file);
      },
    ],
    ["bytes that are not UTF-8", "is not UTF-8", () => replace(Buffer.from([0x61, 0xff, 0x0a]))],
    ["a file above 1 MiB", "larger than 1 MiB", () => replace(`#${"x".repeat(1_048_575)}\n`)],
    ["an empty file", "is empty", () => truncateSync(file)],
    ["a last line without its break", "does not end with a line break", () => replace("tcp: {}")],
    ["half a line", "does not end with a line break", () => replace("tcp:\n  port: 70")],
    ["what is not YAML", "cannot be read as YAML", () => replace("tcp: [\n")],
    ["an option that is unknown", "unknown option tcp.prt", () => replace("tcp:\n  prt: 1\n")],
    ["zeros, as a crash leaves them", "", () => replace(Buffer.alloc(18))],
  ])("%s", async (_name, reason, write) => {
    await started();
    write();
    await later();
    await later();
    expect(scene.ports).toEqual([]);
    expect(scene.refusals).toHaveLength(1);
    expect(scene.refusals[0]).toContain(reason);
    rmSync(file, { recursive: true, force: true });
    replace(textFor(7_001));
    await later();
    expect(scene.ports).toEqual([7_001]);
  });

  it("a file of 1 MiB exactly is read", async () => {
    await started();
    replace(`${textFor(7_001)}#${"x".repeat(1_048_576 - 20)}\n`);
    await later();
    expect(scene).toMatchObject({ ports: [7_001], refusals: [] });
  });

  it.skipIf(process.geteuid?.() !== 0)("a file that this user may not read", async () => {
    await started();
    writeFileSync(`${file}.new`, textFor(7_001), { mode: 0 });
    execFileSync("chmod", ["755", folder]);
    renameSync(`${file}.new`, file);
    process.seteuid!(65_534);
    try {
      await later();
    } finally {
      process.seteuid!(0);
    }
    expect(scene).toMatchObject({ ports: [], refusals: [expect.stringContaining("may not be")] });
    execFileSync("chmod", ["644", file]);
    await later();
    expect(scene.ports).toEqual([7_001]);
  });

  it("each of several, one after the other, and again after something good", async () => {
    await started();
    for (const text of ["a\n", "b\n", "a\n", START, "a\n"]) {
      replace(text);
      await later();
    }
    expect(scene.refusals).toHaveLength(4);
  });

  it("a defect in reading is a refusal too", async () => {
    writeFileSync(file, "changed\n");
    const refusals: string[] = [];
    const clock = new ManualClock();
    scene = new Scene(START);
    const watch = new ConfigWatch({
      file,
      text: START,
      options: resolved(START, file).options,
      read: () => {
        throw new RangeError("deep");
      },
      clock,
      onOptions: () => expect.unreachable(),
      onRefused: ({ message }) => refusals.push(message),
    });
    watch.start();
    await clock.advance(5_000);
    watch.stop();
    expect(refusals).toEqual([expect.stringContaining("cannot be read: RangeError: deep")]);
  });
});

describe("the end marker", () => {
  const MARKED = `${START}...\n`;

  it("once in force, is asked for: a text cut at a line is refused", async () => {
    await started(MARKED);
    replace(textFor(7_001));
    await later();
    expect(scene.ports).toEqual([]);
    expect(scene.refusals).toEqual([expect.stringContaining("was cut off: it does not end with")]);
    replace(`${textFor(7_001)}...\n`);
    await later();
    expect(scene.ports).toEqual([7_001]);
  });

  it.each(["...\r\n", "... \n", "...\n\n"])("may be written as %j", async (end) => {
    await started(MARKED);
    replace(textFor(7_001) + end);
    await later();
    expect(scene).toMatchObject({ ports: [7_001], refusals: [] });
  });

  it.each(["# ...\n", "  ...\n", "...."])("is not %j", async (end) => {
    await started(MARKED);
    replace(`${textFor(7_001)}${end}`);
    await later();
    expect(scene.ports).toEqual([]);
    expect(scene.refusals).toHaveLength(1);
  });

  it("counts from when it comes into force", async () => {
    await started();
    replace(`${textFor(7_001)}...\n`);
    await later();
    replace(textFor(7_002));
    await later();
    expect(scene.ports).toEqual([7_001]);
    expect(scene.refusals).toHaveLength(1);
  });

  it("keeps every text that is cut anywhere from being taken", async () => {
    const long = "# why\ntcp:\n  port: 7001\n\nlog:\n  level: debug\n...\n";
    await started(MARKED);
    for (let length = 0; length < long.length; length++) {
      replace(long.slice(0, length));
      await scene.clock.advance(POLL_MS);
    }
    expect(scene.ports).toEqual([]);
    replace(long);
    await later();
    expect(scene.ports).toEqual([7_001]);
  });
});

describe("storms", () => {
  it("a replacement every 10 ms is read once a second, and told", async () => {
    await started();
    const writes = 500;
    for (let i = 1; i <= writes; i++) {
      replace(textFor(7_000 + i));
      scene.event();
      await scene.clock.advance(10);
    }
    expect(scene.ports.length).toBeGreaterThanOrEqual(4);
    expect(scene.reads).toBeLessThanOrEqual(5);
    await later();
    expect(scene.ports.at(-1)).toBe(7_500);
    expect(scene.refusals).toEqual([]);
  });

  it("a file that is written in place all the time is not taken, and told of once", async () => {
    await started();
    for (let i = 1; i <= 1_200; i++) {
      writeFileSync(file, textFor(7_001 + (i % 2)));
      appendFileSync(file, `# ${i}\n`);
      scene.event();
      await scene.clock.advance(20);
    }
    expect(scene.ports).toEqual([]);
    expect(scene.refusals).toEqual([expect.stringContaining("being written again and again")]);
    await later();
    expect(scene.ports).toEqual([7_001]);
  });

  it("a write of the same size and time between both readings is seen", async () => {
    await started();
    writeFileSync(file, "tcp:\n  port: 7001\n");
    utimesSync(file, 1_000, 1_000);
    scene.event();
    await scene.clock.advance(150);
    writeFileSync(file, "tcp:\n  port: 7002\n");
    utimesSync(file, 1_000, 1_000);
    await later();
    expect(scene.ports).toEqual([7_002]);
  });

  it("only whole texts are ever told: 1,000 writes, a third of them broken or cut", async () => {
    const random = new Prng(5);
    const below = (count: number): number => Math.floor(random.float() * count);
    await started(`${START}...\n`);
    const whole = new Set<number>();
    for (let i = 1; i <= 1_000; i++) {
      const port = 10_000 + i;
      let text = `tcp:\n  port: ${port}\n# ${"x".repeat(below(200))}\nlog:\n  level: info\n...\n`;
      if (below(3) > 0) whole.add(port);
      else if (below(2) === 0) text = text.slice(0, below(text.length - 1));
      else text = text.replace("port", "prot");
      if (below(2) === 0) {
        replace(text);
      } else {
        truncateSync(file);
        const half = below(text.length + 1);
        for (const part of [text.slice(0, half), text.slice(half)]) {
          scene.event();
          await scene.clock.advance(below(150));
          appendFileSync(file, part);
        }
      }
      scene.event();
      await scene.clock.advance(below(10) === 0 ? 2_000 : below(300));
    }
    expect(scene.ports.length).toBeGreaterThan(100);
    expect(scene.ports.filter((port) => !whole.has(port))).toEqual([]);
    expect(scene.ports).toEqual(scene.ports.toSorted((a, b) => a - b));
    expect(scene.refusals.length).toBeGreaterThan(30);
  }, 30_000);
});

describe("check()", () => {
  it("reads although nothing seems to have changed, and says so", async () => {
    await started();
    await expect(answered(scene.watch.check())).resolves.toEqual({ kind: "unchanged" });
  });

  it("answers with the change, which is told first", async () => {
    await started();
    writeFileSync(file, textFor(7_001));
    const verdict = await answered(scene.watch.check());
    expect(verdict).toMatchObject({
      kind: "changed",
      resolved: { options: { tcp: { port: 7_001 } } },
    });
    expect(scene.ports).toEqual([7_001]);
    await expect(answered(scene.watch.check())).resolves.toEqual({ kind: "unchanged" });
  });

  it("answers with the refusal each time, and tells it once", async () => {
    await started();
    truncateSync(file);
    for (let i = 0; i < 3; i++) {
      const verdict = await answered(scene.watch.check());
      expect(verdict).toMatchObject({
        kind: "refused",
        error: { code: "HOLDFAST_OPTIONS_INVALID" },
      });
    }
    expect(scene.refusals).toHaveLength(1);
  });

  it("a storm of them is at most one reading a second", async () => {
    await started();
    const answers: Promise<ConfigVerdict>[] = [];
    for (let i = 0; i < 300; i++) {
      replace(textFor(7_001 + i));
      answers.push(scene.watch.check());
      await scene.clock.advance(10);
    }
    await later();
    expect(scene.reads).toBeLessThanOrEqual(4);
    await expect(Promise.all(answers)).resolves.toHaveLength(300);
    expect(scene.ports.at(-1)).toBe(7_300);
  });

  it("while a reading is under way, waits for one that was begun after it", async () => {
    await started();
    replace(textFor(7_001));
    const first = scene.watch.check();
    await scene.clock.advance(50);
    replace(textFor(7_002));
    const second = scene.watch.check();
    await scene.clock.advance(60);
    await expect(first).resolves.toMatchObject({ resolved: { options: { tcp: { port: 7_001 } } } });
    await later();
    await expect(second).resolves.toMatchObject({
      resolved: { options: { tcp: { port: 7_002 } } },
    });
  });

  it("ends where the file never rests", async () => {
    await started();
    let verdict: ConfigVerdict | null = null;
    void scene.watch.check().then((given) => {
      verdict = given;
    });
    for (let i = 0; i < 240; i++) {
      writeFileSync(file, `${textFor(7_001)}# ${i}\n`);
      await scene.clock.advance(50);
    }
    expect(verdict).toMatchObject({ kind: "refused" });
  });

  it("is answered by stop(), and after it", async () => {
    await started();
    const asked = scene.watch.check();
    scene.watch.stop();
    await expect(asked).resolves.toEqual({ kind: "unchanged" });
    await expect(scene.watch.check()).resolves.toEqual({ kind: "unchanged" });
  });

  async function answered(verdict: Promise<ConfigVerdict>): Promise<ConfigVerdict> {
    await later();
    return verdict;
  }
});

describe("watching that fails", () => {
  it("from the first is tried again, and the poll finds changes meanwhile", async () => {
    writeFileSync(file, START);
    scene = new Scene(START);
    scene.watchFails = true;
    scene.watch.start();
    replace(textFor(7_001));
    await later();
    expect(scene.ports).toEqual([7_001]);
    scene.watchFails = false;
    await later();
    expect(scene.watched).toEqual([folder]);
  });

  it("later is begun anew", async () => {
    await started();
    scene.fail();
    await later();
    expect(scene.watched).toEqual([folder, folder]);
  });
});

describe("stop()", () => {
  it("leaves no timer, no open file, and tells nothing any more", async () => {
    await started();
    replace(textFor(7_001));
    scene.event();
    await scene.clock.advance(150);
    scene.watch.stop();
    expect(scene.clock.pending).toBe(0);
    scene.event();
    await later();
    expect(scene).toMatchObject({ ports: [], refusals: [] });
    expect(scene.clock.pending).toBe(0);
  });

  it("may be called by whoever is told", async () => {
    writeFileSync(file, textFor(7_001));
    scene = new Scene(START);
    const clock = new ManualClock();
    const watch: ConfigWatch = new ConfigWatch({
      file,
      text: START,
      options: resolved(START, file).options,
      read: (text) => resolved(text, file),
      clock,
      onOptions: () => watch.stop(),
      onRefused: () => expect.unreachable(),
    });
    watch.start();
    await clock.advance(5_000);
    expect(clock.pending).toBe(0);
  });
});

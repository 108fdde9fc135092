// Lines into descriptors that are full, closed, slow or broken: nothing waits and nothing throws.
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { LineWriter } from "../../src/observe/line-writer.ts";

const { O_NONBLOCK, O_RDWR, O_WRONLY, O_CREAT } = constants;
let folder: string;
let fds: number[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-lines-"));
  fds = [];
});

afterEach(() => {
  for (const fd of fds) closeSync(fd);
  rmSync(folder, { recursive: true, force: true });
});

function open(path: string, flags: number): number {
  const fd = openSync(path, flags, 0o600);
  fds.push(fd);
  return fd;
}

/** A pipe whose both ends are one descriptor: it takes 64 KiB until somebody reads. */
function pipe(): number {
  const path = join(folder, "pipe");
  execFileSync("mkfifo", [path]);
  return open(path, O_RDWR | O_NONBLOCK);
}

/** Whatever waits in the pipe. */
function drain(fd: number): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.alloc(65_536);
    try {
      chunks.push(chunk.subarray(0, readSync(fd, chunk)));
    } catch (error) {
      expect(error).toMatchObject({ code: "EAGAIN" });
      return Buffer.concat(chunks).toString();
    }
  }
}

function line(index: number, length: number): string {
  return `${String(index).padStart(length - 1, ".")}\n`;
}

describe("a line writer", () => {
  it("writes lines in order, however many there are", async () => {
    const path = join(folder, "file");
    const writer = new LineWriter(open(path, O_WRONLY | O_CREAT), systemClock);
    const lines = Array.from({ length: 5_000 }, (_, index) => line(index, 150));
    for (const text of lines) writer.write(text);
    await writer.close(5_000);
    expect(readFileSync(path, "utf8") === lines.join("")).toBe(true);
    expect(writer.lost).toBe(0);
  });

  it("does not wait for a reader that is behind, and loses nothing it can keep", async () => {
    const fd = pipe();
    const writer = new LineWriter(fd, systemClock);
    const lines = Array.from({ length: 200 }, (_, index) => line(index, 1_000));
    const start = performance.now();
    for (const text of lines) writer.write(text);
    expect(performance.now() - start).toBeLessThan(200);
    await delay(150);
    let read = "";
    const closed = writer.close(5_000);
    while (read.length < 200_000) {
      await delay(10);
      read += drain(fd);
    }
    await closed;
    expect(read === lines.join("")).toBe(true);
    expect(writer.lost).toBe(0);
  });

  it("keeps a bounded amount for a reader that has stopped, and counts the rest", async () => {
    const fd = pipe();
    const writer = new LineWriter(fd, systemClock);
    const start = performance.now();
    for (let index = 0; index < 4_000; index++) writer.write(line(index, 1_000));
    await writer.close(100);
    expect(performance.now() - start).toBeLessThan(2_000);
    const whole = drain(fd).split("\n").length - 1;
    expect(whole).toBeGreaterThan(50);
    expect(whole).toBeLessThan(70);
    // The one that was cut off at the end of the pipe's 64 KiB is lost as well; with it go the
    // others of its write.
    expect(writer.lost).toBeGreaterThanOrEqual(4_000 - 1_200);
    expect(writer.lost).toBeLessThanOrEqual(4_000 - whole + 70);
    writer.write("too late\n");
    expect(drain(fd)).toBe("");
  });

  it.each([
    ["the disk is full", () => open("/dev/full", O_WRONLY)],
    ["the descriptor was closed", () => 999_999],
    ["it is open for reading only", () => open("/dev/null", 0)],
  ])("counts every line when %s", async (_what, descriptor) => {
    const writer = new LineWriter(descriptor(), systemClock);
    for (let index = 0; index < 300; index++) writer.write(line(index, 1_000));
    await writer.close(5_000);
    expect(writer.lost).toBe(300);
  });

  it("counts lines when the reader has gone away", async () => {
    const path = join(folder, "pipe");
    execFileSync("mkfifo", [path]);
    const reader = openSync(path, O_RDWR | O_NONBLOCK);
    const fd = open(path, O_WRONLY | O_NONBLOCK);
    const writer = new LineWriter(fd, systemClock);
    writer.write("heard\n");
    await delay(50);
    expect(drain(reader)).toBe("heard\n");
    closeSync(reader);
    writer.write("unheard\n");
    writer.write("unheard too\n");
    await writer.close(1_000);
    expect(writer.lost).toBe(2);
  });

  it("writes its last words at once, after what waits", () => {
    const fd = pipe();
    const writer = new LineWriter(fd, systemClock);
    // Nothing that was given to the system comes back before this test ends.
    writer.writeLast("last words\n");
    expect(drain(fd)).toBe("last words\n");
    writer.write("after the end\n");
    expect(writer.lost).toBe(1);
  });

  it("does not wait long to say its last words to somebody who does not listen", () => {
    const fd = pipe();
    const writer = new LineWriter(fd, systemClock);
    const start = performance.now();
    writer.writeLast("x".repeat(200_000));
    expect(performance.now() - start).toBeLessThan(1_000);
    expect(drain(fd).length).toBe(65_536);
  });

  it("does not throw its last words at a full disk", () => {
    const writer = new LineWriter(open("/dev/full", O_WRONLY), systemClock);
    expect(() => writer.writeLast("last words\n")).not.toThrow();
  });
});

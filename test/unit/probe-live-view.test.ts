import { describe, expect, it } from "vitest";
import { LiveView, type Progress } from "../../src/probe/live-view.ts";
import { capacityReport } from "../support/probe-report.ts";

const [climb, ...others] = capacityReport().stages;

const PROGRESS: Progress = {
  atMs: 30_000,
  title: "capacity ws://10.0.0.5:8080",
  stageName: "256,000",
  phase: "connecting",
  phaseMs: 12_400,
  phaseOfMs: 30_000,
  held: 182_041,
  intended: 256_000,
  connectsPerSecond: 1_210,
  operationsPerSecond: 18_204,
  responseP99Ms: 31.04,
  latenessP99Ms: 1.2,
  failures: 73_959,
  deaths: 3,
  generatorLoop: 0.34,
  server: { ...climb!.server!, loopLagP99Ms: 0.73 },
};

class Screen {
  written: string = "";
  writes: number = 0;
  readonly isInteractive: boolean;
  columns: number;
  readonly colour: boolean;

  constructor({ isInteractive = true, columns = 100, colour = false } = {}) {
    this.isInteractive = isInteractive;
    this.columns = columns;
    this.colour = colour;
  }

  write(text: string): void {
    this.written += text;
    this.writes++;
  }

  /** What a terminal shows after all that: it knows the few codes that may be used. */
  get lines(): readonly string[] {
    const lines = [""];
    let row = 0;
    const pattern = /\u001b\[(\??[0-9]*)([A-Za-z])|([\r\n])|([^\u001b\r\n]+)/g;
    let column = 0;
    for (const [, argument, code, newline, text] of this.written.matchAll(pattern)) {
      if (code === "A") row -= Number(argument);
      else if (code === "K") lines[row] = "";
      else if (newline === "\n") {
        row++;
        column = 0;
        lines[row] ??= "";
      } else if (newline === "\r") column = 0;
      else if (text !== undefined) {
        const old = (lines[row] ?? "").padEnd(column);
        lines[row] = old.slice(0, column) + text + old.slice(column + text.length);
        column += text.length;
      }
    }
    return lines;
  }
}

function shown(screen: Screen): string {
  return screen.lines.join("\n");
}

describe("on a terminal", () => {
  it("the run's state stands in two lines below title and header, and moves in place", () => {
    const screen = new Screen({ columns: 140 });
    const view = new LiveView(screen);
    view.progress({ ...PROGRESS, held: 1, phaseMs: 0 });
    view.progress(PROGRESS);
    const [title, , header, ...rest] = screen.lines;
    expect(title).toBe("capacity ws://10.0.0.5:8080");
    expect(header).toMatch(/^stage +of intended/);
    expect(rest).toEqual([
      "256,000 connecting 00:12/00:30  182,041/256,000 held  1,210 conn/s  " +
        "73,959 failures  3 deaths",
      "18,204 op/s  resp p99 31.0 ms  late p99 1.20 ms  loop 34%  | server 236 MiB  0.12 cores  " +
        "16,041/182,082 files  lag p99 0.73 ms",
    ]);
  });

  it("each drawing is one write, so that nothing flickers", () => {
    const screen = new Screen();
    const view = new LiveView(screen);
    for (let count = 0; count < 5; count++) view.progress(PROGRESS);
    expect(screen.writes).toBe(5);
  });

  it.each([20, 60, 80, 100, 250])("no line reaches the last of %i columns", (columns) => {
    const screen = new Screen({ columns });
    const view = new LiveView(screen);
    view.progress({ ...PROGRESS, title: `load ${"ws://a.example:7400 ".repeat(20)}` });
    for (const line of screen.lines) expect(line.length).toBeLessThan(columns);
  });

  it("a terminal that was made narrower gets shorter lines at the next drawing", () => {
    const screen = new Screen({ columns: 120 });
    const view = new LiveView(screen);
    view.progress(PROGRESS);
    screen.columns = 40;
    view.progress(PROGRESS);
    expect(Math.max(...screen.lines.map((line) => line.length))).toBe(39);
  });

  it("stages that have ended stay above, below one header", () => {
    const screen = new Screen();
    const view = new LiveView(screen);
    view.progress(PROGRESS);
    view.stage(climb!);
    view.progress(PROGRESS);
    view.stage(others[3]!);
    view.progress(PROGRESS);
    const text = shown(screen);
    expect(text.match(/of intended.*verdict/g)).toHaveLength(1);
    expect(screen.lines.map((line) => line.split(" ")[0])).toEqual([
      "capacity",
      "",
      "stage",
      "climb",
      "climb",
      "256,000",
      "18,204",
    ]);
  });

  it("a note goes above the moving lines and leaves them as they were", () => {
    const screen = new Screen();
    const view = new LiveView(screen);
    view.stage(climb!);
    view.progress(PROGRESS);
    const before = screen.lines.slice(-2);
    view.note("generator process 3 does not answer; waiting for it");
    expect(screen.lines.at(-3)).toBe("generator process 3 does not answer; waiting for it");
    expect(screen.lines.slice(-2)).toEqual(before);
  });

  it("the cursor is hidden once, and comes back once at the end", () => {
    const screen = new Screen();
    const view = new LiveView(screen);
    view.progress(PROGRESS);
    view.stage(climb!);
    view.progress(PROGRESS);
    expect(screen.written.split("\u001b[?25l")).toHaveLength(2);
    expect(screen.written).not.toContain("\u001b[?25h");
    view.end();
    view.end();
    expect(screen.written.split("\u001b[?25h")).toHaveLength(2);
    expect(screen.written.endsWith("\u001b[?25h")).toBe(true);
  });

  it("nothing of the moving lines is left at the end, and nothing moves after it", () => {
    const screen = new Screen();
    const view = new LiveView(screen);
    view.stage(climb!);
    view.progress(PROGRESS);
    view.end();
    view.progress(PROGRESS);
    expect(screen.lines.slice(3).join("")).toBe("");
  });

  it("a run that ended before anything was shown writes nothing", () => {
    const screen = new Screen();
    new LiveView(screen).end();
    expect(screen.written).toBe("");
  });

  it("names from elsewhere cannot drive the terminal", () => {
    const screen = new Screen();
    const view = new LiveView(screen);
    view.progress({ ...PROGRESS, title: "load \u001b[2Jws://\u009b1Ax\n", stageName: "a\rb" });
    view.note("\u001b]0;mine\u0007\nforged line");
    const codes = screen.written.match(/\u001b.{1,5}/g)!;
    for (const code of codes) expect(code).toMatch(/^\u001b(\[\?25l|\[2K|\[1A)/);
    expect(screen.written).not.toMatch(/[\u0007\u009b]/);
    expect(screen.lines).toContain("?]0;mine??forged line");
  });

  it.each([
    ["no end in sight", { phaseOfMs: null }, "connecting 00:12  "],
    ["more than an hour", { phaseMs: 3_723_000, phaseOfMs: 7_200_000 }, "1:02:03/2:00:00"],
    ["no samples", { responseP99Ms: null, latenessP99Ms: null }, "resp p99 -  late p99 -  "],
  ])("%s is shown as it is", (_, change, expected) => {
    const screen = new Screen();
    new LiveView(screen).progress({ ...PROGRESS, ...change });
    expect(shown(screen)).toContain(expected);
  });

  it("a server that nobody watches, or of which little is known, takes no room", () => {
    const screen = new Screen();
    const view = new LiveView(screen);
    view.progress({ ...PROGRESS, server: null });
    expect(shown(screen)).not.toContain("server ");
    const unknown = { rssBytes: null, cpuCores: null, fdLimit: null, loopLagP99Ms: null };
    view.progress({ ...PROGRESS, server: { ...climb!.server!, ...unknown } });
    expect(screen.lines.at(-1)).toMatch(/\| server 16,041 files$/);
  });

  it("colours appear only where they are asked for", () => {
    const screen = new Screen({ colour: true });
    const view = new LiveView(screen);
    view.stage(climb!);
    expect(screen.written).toContain("\u001b[32mok\u001b[39m");
    const grey = new Screen();
    new LiveView(grey).stage(climb!);
    expect(grey.written).not.toContain("\u001b");
  });
});

describe("elsewhere than on a terminal", () => {
  it("there is one header, a line for each stage, and nothing that moves", () => {
    const screen = new Screen({ isInteractive: false, columns: 40 });
    const view = new LiveView(screen);
    view.progress(PROGRESS);
    view.stage(climb!);
    view.progress(PROGRESS);
    view.stage(others[4]!);
    view.end();
    expect(screen.written).not.toMatch(/[\u001b\r]/);
    const lines = screen.written.trimEnd().split("\n");
    expect(lines).toHaveLength(5);
    expect(lines[0]).toBe("capacity ws://10.0.0.5:8080");
    expect(lines[3]).toMatch(/^climb .* ok$/);
    expect(lines[4]).toMatch(/^verify .* GENERATOR-BOUND$/);
  });

  it("notes are lines of their own", () => {
    const screen = new Screen({ isInteractive: false });
    const view = new LiveView(screen);
    view.note("one");
    view.progress(PROGRESS);
    view.note("two");
    view.end();
    expect(screen.written).toBe("one\ntwo\n");
  });
});

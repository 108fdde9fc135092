// Plants violations of the house rules in a folder of its own and expects each to be reported, by
// scripts/tidy.mjs and, where it has the same rule, by oxlint with the repository's configuration.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkTree } from "../../scripts/tidy.mjs";

const repository = resolve(import.meta.dirname, "../..");
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "holdfast-tidy-"));
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function plant(files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

/** What tidy reports for these files beside a clean source file, as `path:line rule`. */
function tidy(files: Record<string, string>): string[] {
  plant({ "src/base/clean.ts": "export const clean: number = 1;\n", ...files });
  return checkTree(root).violations.map(({ path, line, rule }) => `${path}:${line} ${rule}`);
}

const layers =
  "base bus config observe wire transport connection server supervisor client probe cli".split(" ");
const mayImport: Record<string, string> = {
  base: "",
  bus: "base",
  config: "base",
  observe: "base",
  wire: "base",
  transport: "base wire",
  connection: "base wire transport",
  server: "base bus config observe wire transport connection",
  supervisor: "base bus config observe wire transport connection server",
  client: "base observe wire transport",
  probe: "base observe wire transport",
  cli: "base bus config observe wire transport connection server supervisor client probe",
};
const forbidden: [string, string][] = layers.flatMap((from) =>
  layers
    .filter((to) => to !== from && !mayImport[from]?.split(" ").includes(to))
    .map((to): [string, string] => [from, to]),
);

function layerTree(): Record<string, string> {
  const files: Record<string, string> = {};
  for (const layer of layers) {
    files[`src/${layer}/thing.ts`] = "export const thing: number = 1;\n";
    for (const to of layers) {
      if (to === layer) continue;
      const text = `import { thing } from "../${to}/thing.ts";\nexport const x: number = thing;\n`;
      files[`src/${layer}/from-${to}.ts`] = text;
    }
  }
  return files;
}

describe("the layer rule", () => {
  it("reports every import that points up or sideways, and no other", () => {
    expect(forbidden.length).toBeGreaterThan(30);
    const expected = forbidden.map(([from, to]) => `src/${from}/from-${to}.ts:1 layer`).sort();
    expect(tidy(layerTree()).sort()).toEqual(expected);
  });

  it.each([
    ["a type import", 'import type { A } from "../server/a.ts";'],
    ["an inline type import", 'import { type A } from "../server/a.ts";'],
    ["a side-effect import", 'import "../server/a.ts";'],
    ["a namespace import", 'import * as a from "../server/a.ts";'],
    ["an import over several lines", 'import {\n  a,\n} from "../server/a.ts";'],
    ["an import that follows code on its line", 'let b = 1; import { a } from "../server/a.ts";'],
    ["a re-export", 'export { a } from "../server/a.ts";'],
    ["a type re-export", 'export type { A } from "../server/a.ts";'],
    ["a dynamic import", 'const a = await import("../server/a.ts");'],
    ["a type query", 'let a: import("../server/a.ts").A;'],
    ["a require", 'const a = require("../server/a.ts");'],
    ["a path that goes round", 'import { a } from "./../wire/../server/a.ts";'],
  ])("sees %s", (_, text) => {
    expect(tidy({ "src/wire/bad.ts": `${text}\n` })).toEqual(["src/wire/bad.ts:1 layer"]);
  });

  it("is not misled by an import in a comment, a string or a template", () => {
    const text = [
      '// import { a } from "../server/a.ts";',
      '/* import "../server/a.ts"; */',
      "export const a: string = 'import \"../server/a.ts\"';",
      'export const b: string = `import "../server/a.ts";`;',
    ];
    expect(tidy({ "src/wire/good.ts": `${text.join("\n")}\n` })).toEqual([]);
  });

  it("lets connection import types of observe, and only types", () => {
    const found = tidy({
      "src/connection/good.ts": 'import type { Log } from "../observe/log.ts";\n',
      "src/connection/bad.ts": 'import { type Log } from "../observe/log.ts";\n',
    });
    expect(found).toEqual(["src/connection/bad.ts:1 layer"]);
  });

  it("lets src/index.ts import everything and nothing but the command line import it", () => {
    const found = tidy({
      "src/index.ts": 'export { a } from "./server/a.ts";\nexport * from "./client/b.ts";\n',
      "src/cli/good.ts": 'import { a } from "../index.ts";\n',
      "src/server/bad.ts": 'import { a } from "../index.ts";\n',
    });
    expect(found).toEqual(["src/server/bad.ts:1 layer"]);
  });

  it("reports a folder that is no layer and an import from outside src", () => {
    const found = tidy({
      "src/extra/bad.ts": 'import { a } from "../base/clean.ts";\n',
      "src/base/bad.ts": 'import { a } from "../../test/support/a.ts";\n',
    });
    expect(found).toEqual(["src/base/bad.ts:1 layer", "src/extra/bad.ts:1 layer"]);
  });

  it("lets tests import any layer", () => {
    const text = 'import { a } from "../../src/server/a.ts";\nimport ws from "ws";\n';
    expect(tidy({ "test/unit/a.test.ts": text })).toEqual([]);
  });
});

describe("the vendor rule", () => {
  it.each([
    ["uWebSockets.js", "src/transport/uws.ts", "src/transport/websocket.ts"],
    ["@uwsjs/linux-x64-20", "src/transport/uws.ts", "src/server/server.ts"],
    ["protobufjs/minimal.js", "src/wire/messages.ts", "src/client/client.ts"],
    ["pino", "src/observe/log.ts", "src/observe/metrics.ts"],
    ["prom-client", "src/observe/metrics.ts", "src/observe/log.ts"],
    ["ws", "src/client/node.ts", "src/client/connect.ts"],
    ["zod", "src/config/schema.ts", "src/server/server.ts"],
    ["yaml", "src/config/file.ts", "src/cli/serve.ts"],
    ["commander", "src/cli/holdfast.ts", "src/config/flags.ts"],
  ])("allows %s in its place and nowhere else", (vendor, good, bad) => {
    const text = `import type { A } from "${vendor}";\n`;
    expect(tidy({ [good]: text, [bad]: text })).toEqual([`${bad}:1 vendor`]);
  });

  it("reports a package that was given no place", () => {
    expect(tidy({ "src/cli/a.ts": 'import a from "left-pad";\n' })).toEqual([
      "src/cli/a.ts:1 vendor",
    ]);
  });

  it("reports a name computed at run time, except in the loader of uWebSockets.js", () => {
    const text = "export const a: unknown = await import(name);\n";
    const found = tidy({
      "src/transport/uws.ts": text,
      "src/transport/a.ts": text,
      "src/transport/b.ts": "export const a: unknown = createRequire(import.meta.url)(name);\n",
    });
    expect(found).toEqual(["src/transport/a.ts:1 vendor", "src/transport/b.ts:1 vendor"]);
  });
});

describe("the browser rule", () => {
  it("follows value imports from src/client/browser.ts to a node: module", () => {
    plant({
      "src/client/browser.ts": 'import { a } from "./a.ts";\n',
      "src/client/a.ts": 'import { b } from "../base/b.ts";\n',
      "src/base/b.ts": 'import { a } from "../client/a.ts";\nimport { c } from "node:net";\n',
    });
    const found = checkTree(root).violations.filter(({ rule }) => rule === "browser");
    expect(found).toEqual([
      {
        path: "src/base/b.ts",
        line: 2,
        rule: "browser",
        message:
          "node:net does not exist in a browser " +
          "(src/client/browser.ts > src/client/a.ts > src/base/b.ts)",
      },
    ]);
  });

  it("allows protobufjs, type imports, and node: where the browser does not get", () => {
    const found = tidy({
      "src/client/browser.ts":
        'import type { Socket } from "node:net";\nimport { m } from "../wire/messages.ts";\n',
      "src/client/node.ts": 'import { connect } from "node:net";\nimport ws from "ws";\n',
      "src/wire/messages.ts": 'import protobuf from "protobufjs/minimal.js";\n',
    });
    expect(found).toEqual([]);
  });
});

describe("banned calls", () => {
  it.each([
    "Date.now()",
    "new Date()",
    "Date()",
    "performance.now()",
    "globalThis.performance.now()",
    'Date["now"]()',
    "process.hrtime()",
    "process.hrtime.bigint()",
    "setTimeout(f, 1)",
    "setInterval(f, 1)",
    "setImmediate(f)",
    "globalThis.setTimeout(f, 1)",
    "Math.random()",
    "{ setTimeout }",
    "[Date.now]",
  ])("reports %s in the source", (expression) => {
    const found = tidy({ "src/server/a.ts": `export const a: unknown = ${expression};\n` });
    expect(found).toEqual(["src/server/a.ts:1 banned-call"]);
  });

  it("reports the timers module", () => {
    const text = 'import { setTimeout as sleep } from "node:timers/promises";\n';
    expect(tidy({ "src/server/a.ts": text })).toContain("src/server/a.ts:1 banned-call");
  });

  it("allows a date made from a given time, and members that only share a name", () => {
    const text = [
      "export const a: Date = new Date(nowMs);",
      "export const b: unknown = clock.setTimeout(f, 1);",
      "export const c: unknown = { now: 1, random: 2, setTimeout: f };",
      "export interface D { setTimeout(f: unknown): void; }",
    ];
    expect(tidy({ "src/server/a.ts": `${text.join("\n")}\n` })).toEqual([]);
  });

  it("allows time in the clock and programs, randomness in the generator and programs", () => {
    const time = "export const a: number = Date.now();\n";
    const randomness = "export const a: number = Math.random();\n";
    const found = tidy({
      "src/base/clock.ts": time + randomness,
      "src/base/prng.ts": time + randomness,
      "src/cli/serve.ts": time + randomness,
      "src/client/node.ts": time + randomness,
    });
    expect(found).toEqual(["src/base/clock.ts:2 banned-call", "src/base/prng.ts:1 banned-call"]);
  });

  it("bans unseeded randomness in tests, and real time in simulations", () => {
    const text = "export const a: number = Date.now();\nexport const b: number = Math.random();\n";
    const found = tidy({ "test/sim/a.test.ts": text, "test/unit/a.test.ts": text });
    expect(found).toEqual([
      "test/sim/a.test.ts:1 banned-call",
      "test/sim/a.test.ts:2 banned-call",
      "test/unit/a.test.ts:2 banned-call",
    ]);
  });
});

describe("names and sizes", () => {
  it.each(["util", "string-utils", "helpers", "common", "misc", "types", "socket-manager"])(
    "reports a file named %s",
    (name) => {
      expect(tidy({ [`src/base/${name}.ts`]: "" })).toEqual([`src/base/${name}.ts:1 file-name`]);
    },
  );

  it.each(["CamelCase.ts", "snake_case.ts", "index.ts"])("reports %s in a layer", (name) => {
    expect(tidy({ [`src/base/${name}`]: "" })).toEqual([`src/base/${name}:1 file-name`]);
  });

  it("reports export * anywhere but in src/index.ts", () => {
    const text = 'export * from "./clean.ts";\n';
    expect(tidy({ "src/base/all.ts": text })).toEqual(["src/base/all.ts:1 barrel"]);
  });

  it("reports a line of 101 columns, and neither one of 100 nor one with a URL", () => {
    const text = ["//".padEnd(100, "x"), "//".padEnd(101, "x"), "// https://".padEnd(120, "x")];
    expect(tidy({ "src/base/a.ts": `${text.join("\n")}\n` })).toEqual([
      "src/base/a.ts:2 line-length",
    ]);
  });

  it("reports a file of 601 lines in the source and of 901 lines in the tests", () => {
    const found = tidy({
      "src/base/a.ts": "\n".repeat(600),
      "src/base/b.ts": "\n".repeat(601),
      "test/unit/a.test.ts": "\n".repeat(900),
      "test/unit/b.test.ts": "\n".repeat(901),
    });
    expect(found).toEqual(["src/base/b.ts:601 file-length", "test/unit/b.test.ts:901 file-length"]);
  });

  it.each([
    ["a function", "export function f(): void {", "}"],
    ["a method", "export class A { f(): void {", "} }"],
    ["an arrow function", "export const f: () => void = () => {", "};"],
  ])("reports %s of 71 lines, and not one of 70", (_, first, last) => {
    const lines = (count: number): string => `${first}${"\n".repeat(count - 1)}${last}\n`;
    const found = tidy({ "src/base/a.ts": lines(70), "src/base/b.ts": lines(71) });
    expect(found).toEqual(["src/base/b.ts:1 function-length"]);
  });

  it("does not count the body of describe() as a function, but counts a test", () => {
    const body = "\n".repeat(80);
    const text = `describe("a", () => {${body}});\nit("b", () => {${body}});\n`;
    expect(tidy({ "test/unit/a.test.ts": text })).toEqual([
      "test/unit/a.test.ts:82 function-length",
    ]);
  });

  it("exempts generated code from sizes", () => {
    const text = "//".padEnd(200, "x").concat("\n".repeat(2_000));
    expect(tidy({ "src/wire/generated/messages.js": text })).toEqual([]);
  });
});

describe("text", () => {
  it.each(["TODO", "FIXME", "XXX"])("reports a comment with %s", (word) => {
    const found = tidy({ "src/base/a.ts": `/** Text. */\n// ${word}: later\n` });
    expect(found).toEqual(["src/base/a.ts:2 todo"]);
  });

  it("reports paths of one machine anywhere, and temporary files outside tests", () => {
    // Put together here, or this file would break the rule.
    const text = ["work", "root", "tmp"].map((folder) => `See /${folder}/x.\n`).join("");
    const found = tidy({ "README.md": text, "test/unit/notes.txt": text });
    expect(found).toEqual([
      "README.md:1 machine-path",
      "README.md:2 machine-path",
      "README.md:3 machine-path",
      "test/unit/notes.txt:1 machine-path",
      "test/unit/notes.txt:2 machine-path",
    ]);
  });

  it("reports registry hosts, except in the lockfile", () => {
    const text = `https://${["registry", "npmjs", "org"].join(".")}/ws\n`;
    const found = tidy({ "README.md": text, "package-lock.json": text });
    expect(found).toEqual(["README.md:1 registry"]);
  });

  it("reports links that lead nowhere, by file and by heading", () => {
    const text = [
      "# Top",
      "## Close codes, by name",
      "[good](docs/a.md) [good](docs) [good](#top) [good](docs/a.md#close-codes-by-name)",
      "[good](https://example.com/x) `[code](nowhere.md)`",
      "```",
      "[code](nowhere.md)",
      "```",
      "[bad](docs/b.md)",
      "[bad](#bottom)",
      "[bad](docs/a.md#other)",
      "[bad](../outside.md)",
      "[![image](docs/none.svg)](docs/a.md)",
      "[bad]: docs/c.md",
    ];
    const found = tidy({
      "README.md": `${text.join("\n")}\n`,
      "docs/a.md": "## Close codes, by `name`\n",
    });
    expect(found).toEqual([8, 9, 10, 11, 12, 13].map((line) => `README.md:${line} link`));
  });

  it("reports a source file that does not parse", () => {
    expect(tidy({ "src/base/a.ts": "export const = ;\n" })).toEqual(["src/base/a.ts:1 syntax"]);
  });

  it("does not pass when there is no source file to check", () => {
    plant({ "README.md": "# Nothing\n" });
    expect(checkTree(root).violations.map(({ rule }) => rule)).toEqual(["empty"]);
  });
});

/** What oxlint reports under src/, as `path rule`, each once. */
function oxlint(): string[] {
  for (const file of [".oxlintrc.json", "tsconfig.json"]) {
    copyFileSync(join(repository, file), join(root, file));
  }
  symlinkSync(join(repository, "node_modules"), join(root, "node_modules"));
  const run = spawnSync(join(root, "node_modules/.bin/oxlint"), ["-f", "json", "src"], {
    cwd: root,
    encoding: "utf8",
  });
  const { diagnostics } = JSON.parse(run.stdout) as {
    diagnostics: { filename: string; code: string }[];
  };
  return [...new Set(diagnostics.map(({ filename, code }) => `${filename} ${code}`))].sort();
}

describe("the lint configuration", () => {
  it("reports the same layer violations as tidy does", () => {
    plant(layerTree());
    const expected = forbidden.map(
      ([from, to]) => `src/${from}/from-${to}.ts eslint(no-restricted-imports)`,
    );
    expect(oxlint()).toEqual(expected.sort());
  });

  it("reports type imports against the layers, except connection's of observe", () => {
    plant({
      "src/observe/log.ts": "export type Log = string;\n",
      "src/base/a.ts": 'export type { Log } from "../observe/log.ts";\n',
      "src/wire/a.ts":
        'import type { Log } from "../observe/log.ts";\nexport const log: Log = "";\n',
      "src/connection/a.ts":
        'import type { Log } from "../observe/log.ts";\nexport const log: Log = "";\n',
    });
    expect(oxlint()).toEqual([
      "src/base/a.ts eslint(no-restricted-imports)",
      "src/wire/a.ts eslint(no-restricted-imports)",
    ]);
  });

  it("reports what types and the import graph reveal", () => {
    plant({
      "src/base/floating.ts":
        "export async function f(): Promise<void> {}\nexport function g(): void {\n  f();\n}\n",
      "src/base/void-return.ts": "[1].forEach(async () => {});\n",
      "src/base/switch.ts":
        'export function f(s: "a" | "b"): void {\n  switch (s) {\n    case "a":\n  }\n}\n',
      "src/base/one.ts": 'import { two } from "./two.ts";\nexport const one: () => number = two;\n',
      "src/base/two.ts": 'import { one } from "./one.ts";\nexport const two: () => number = one;\n',
    });
    expect(oxlint()).toEqual([
      "src/base/floating.ts typescript(no-floating-promises)",
      "src/base/one.ts import(no-cycle)",
      "src/base/switch.ts typescript(switch-exhaustiveness-check)",
      "src/base/two.ts import(no-cycle)",
      "src/base/void-return.ts typescript(no-misused-promises)",
      "src/base/void-return.ts typescript(strict-void-return)",
    ]);
  });
});

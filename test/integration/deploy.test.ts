// The files in deploy/, tried: systemd's own checks on the units, and the program under sockets
// that somebody else holds.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { connect } from "../../src/client/node.ts";
import { readConfigText } from "../../src/config/config-text.ts";
import { optionsFrom, resolveOptions } from "../../src/config/resolve.ts";
import { closeHeldSockets, openHeldSockets } from "../../src/transport/held-socket.ts";
import { hasNative } from "../support/native.ts";

const DEPLOY = fileURLToPath(new URL("../../deploy", import.meta.url));
const PROGRAM = fileURLToPath(new URL("../../dist/cli/holdfast.js", import.meta.url));
const UNITS = readdirSync(join(DEPLOY, "systemd")).filter((name) => !name.endsWith(".conf"));
const ANALYZE = "systemd-analyze";
const ACTIVATE = "systemd-socket-activate";
const hasAnalyze = spawnSync(ANALYZE, ["--version"]).status === 0;
const hasActivate = spawnSync(ACTIVATE, ["--version"]).status === 0;

function unit(name: string): string {
  return readFileSync(join(DEPLOY, "systemd", name), "utf8");
}

/** The value of a setting that stands once. */
function setting(text: string, name: string): string {
  const values = [...text.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value]) => value!);
  expect(values, `${name}= stands once`).toHaveLength(1);
  return values[0]!;
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-deploy-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

// Without systemd-analyze these are skipped: nothing else can tell.
describe.skipIf(!hasAnalyze)("systemd's own checks", () => {
  /** verify wants the program to be there. */
  function verify(change: (text: string) => string): { status: number | null; output: string } {
    const folder = temporaryFolder();
    const files = UNITS.map((name) => join(folder, name));
    for (const [index, name] of UNITS.entries()) {
      const text = unit(name).replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`);
      writeFileSync(files[index]!, change(text));
    }
    const run = spawnSync(ANALYZE, ["verify", "--man=no", ...files], {
      encoding: "utf8",
    });
    return { status: run.status, output: run.stdout + run.stderr };
  }

  it("find nothing to say about the units", () => {
    expect(UNITS).toHaveLength(3);
    expect(verify((text) => text)).toEqual({ status: 0, output: "" });
  });

  it("would say if a setting were wrong", () => {
    const { output } = verify((text) => text.replace("KillMode=mixed", "KillMode=mixd"));
    expect(output).toContain("mixd");
  });

  it("call the service's exposure low: at most 1.5 of 10", () => {
    const file = join(DEPLOY, "systemd", "holdfast.service");
    const args = ["security", "--offline=true", "--no-pager", "--threshold=15", file];
    const run = spawnSync(ANALYZE, args, { encoding: "utf8" });
    expect({ status: run.status, output: run.status === 0 ? "" : run.stdout }).toEqual({
      status: 0,
      output: "",
    });
  });
});

describe("the files agree with the program", () => {
  it("the service is given more time to stop than draining takes", () => {
    const { drain } = optionsFrom({});
    const seconds = Number(setting(unit("holdfast.service"), "TimeoutStopSec"));
    expect(seconds * 1_000).toBeGreaterThan(drain.graceMs + drain.closeSpreadMs + 6_000);
  });

  it("the sockets have the default ports and the names that the program looks for", () => {
    const { tcp, websocket } = optionsFrom({});
    for (const [name, port] of [
      ["tcp", tcp.port],
      ["websocket", websocket.port],
    ] as const) {
      const text = unit(`holdfast-${name}.socket`);
      expect(setting(text, "FileDescriptorName")).toBe(name);
      expect(setting(text, "ListenStream")).toBe(`0.0.0.0:${port}`);
      expect(setting(text, "Backlog")).toBe(String(tcp.backlog));
    }
  });

  it("the configuration is valid, has the defaults, and ends with the end marker", () => {
    const file = join(DEPLOY, "holdfast.yaml");
    const text = readConfigText(file);
    expect(text.endsWith("\n...\n")).toBe(true);
    expect(resolveOptions({ file, text }).options).toEqual(optionsFrom({}));
  });

  it("the container's sources are there, and what was built on this machine is not taken", () => {
    const text = readFileSync(join(DEPLOY, "Dockerfile"), "utf8");
    const sources = [...text.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, names]) =>
      names!.split(" "),
    );
    expect(sources.length).toBeGreaterThan(5);
    expect(sources.filter((name) => /^(?:\.|native\/?|dist|node_modules)$/.test(name))).toEqual([]);
    expect(setting(text.replaceAll(" ", "="), "STOPSIGNAL")).toBe("SIGTERM");
  });
});

/** Runs it until the test ends; resolves once a line of its log matches. */
async function until(child: ChildProcess, pattern: RegExp): Promise<string> {
  let output = "";
  return new Promise((resolve, reject) => {
    child.stdout!.on("data", (chunk) => {
      output += String(chunk);
      if (pattern.test(output)) resolve(output);
    });
    child.once("exit", (code) => reject(new Error(`it ended with ${code}: ${output}`)));
  });
}

function atEnd(child: ChildProcess): void {
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  });
}

const FLAGS = [
  ...["serve", "--workers", "2", "--websocket-port", "0", "--admin-enabled", "false"],
  ...["--log-pretty", "false", "--drain-grace-ms", "200", "--drain-close-spread-ms", "100"],
];

async function echo(port: number, text: string): Promise<string> {
  const client = connect(`tcp://127.0.0.1:${port}`);
  try {
    const reply = await client.call("echo", text, { timeoutMs: 15_000 });
    return new TextDecoder().decode(reply);
  } finally {
    await client.close();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("it has no port");
  return address.port;
}

describe.skipIf(!hasActivate)("socket activation by systemd", () => {
  it("serves the client whose connection started it, and takes no port of its own", async () => {
    const port = await freePort();
    const child = spawn(
      ACTIVATE,
      [`--listen=127.0.0.1:${port}`, "--fdname=tcp", process.execPath, PROGRAM, ...FLAGS]
        // An address at which it could not listen by itself.
        .concat("--tcp-host", "192.0.2.1"),
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    atEnd(child);
    await new Promise<void>((resolve) => {
      child.stderr.on("data", (chunk) => {
        if (String(chunk).includes("Listening on")) resolve();
      });
    });
    await expect(echo(port, "first")).resolves.toBe("first");
    await expect(echo(port, "second")).resolves.toBe("second");
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await expect(ended).resolves.toEqual([0, null]);
  });
});

describe.skipIf(!hasNative)("sockets that outlive the program", () => {
  it("let clients wait from the end of one supervisor to the start of the next", async () => {
    const held = await openHeldSockets({
      what: "TCP",
      host: "127.0.0.1",
      port: 0,
      path: null,
      backlog: 128,
      count: 1,
    });
    onTestFinished(() => closeHeldSockets(held.files));
    const { port } = held.address;
    const start = async (): Promise<ChildProcess> => {
      // The process that is meant must be named by its own id, which the shell's becomes.
      const command = 'export LISTEN_PID=$$; exec "$0" "$@"';
      const child = spawn("sh", ["-c", command, process.execPath, PROGRAM, ...FLAGS], {
        stdio: ["ignore", "pipe", "inherit", held.files[0]!],
        env: { ...process.env, LISTEN_FDS: "1", LISTEN_FDNAMES: "tcp" },
      });
      atEnd(child);
      await until(child, /"msg":"serving"/);
      return child;
    };
    const first = await start();
    await expect(echo(port, "first")).resolves.toBe("first");
    const ended = once(first, "exit");
    first.kill("SIGTERM");
    await expect(ended).resolves.toEqual([0, null]);
    const waiting = echo(port, "waited");
    const second = await start();
    await expect(waiting).resolves.toBe("waited");
    const secondEnded = once(second, "exit");
    second.kill("SIGTERM");
    await expect(secondEnded).resolves.toEqual([0, null]);
  });
});

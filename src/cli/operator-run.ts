// What the commands of operators do: they ask a running server, and print what it answers.

import { systemClock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { plain } from "../probe/text-layout.ts";
import type { ReloadState } from "../server/admin-source.ts";
import type { TopConnections } from "../server/operator.ts";
import { STATS_SCHEMA } from "../server/stats.ts";
import type { AdminAnswer, AdminClient } from "./admin-client.ts";
import { EXIT, type ExitCode } from "./exit-code.ts";
import { connectionsTable, type ServerStats, statsPage } from "./operator-tables.ts";
import type { Terminal } from "./terminal.ts";

/** How often a rolling restart is looked at. */
const LOOK_MS = 250;
/** A server remembers more restarts than these. */
const PAST_MIN = 10;
/** Lines that are not read by a person at a terminal are not cut. */
const UNLIMITED_WIDTH = 10_000;

/** Flags by their name in camelCase. */
export type Values = Readonly<Record<string, string | boolean | undefined>>;

export interface Asking {
  readonly client: AdminClient;
  readonly values: Values;
  readonly terminal: Terminal;
}

/** @param id the argument, "" where there is none. */
export type OperatorRun = (asking: Asking, id: string) => Promise<ExitCode>;

async function showStats({ client, values, terminal }: Asking): Promise<ExitCode> {
  const answer = await client.get("/stats", { worker: text(values["worker"]) });
  return told(answer, { values, terminal }, (body) => {
    if (body["schema"] !== STATS_SCHEMA) {
      throw new HoldfastError("HOLDFAST_CONNECT_FAILED", `it does not answer with ${STATS_SCHEMA}`);
    }
    return statsPage(body as unknown as ServerStats, widthOf(terminal));
  });
}

async function showConnections(asking: Asking, id: string): Promise<ExitCode> {
  const { client, values, terminal } = asking;
  if (id !== "") {
    const answer = await client.get(`/connections/${encodeURIComponent(id)}`);
    return told(answer, asking, (body) => json(body));
  }
  const answer = await client.get("/connections", {
    sort: text(values["sort"]),
    limit: text(values["limit"]),
    state: text(values["state"]),
    transport: text(values["transport"]),
  });
  return told(answer, asking, (body) => {
    const { matching, connections } = body as unknown as TopConnections;
    const missing = (body["missing"] ?? []) as readonly number[];
    return connectionsTable(matching, connections, missing, widthOf(terminal));
  });
}

async function drain(asking: Asking): Promise<ExitCode> {
  const query = asking.values["now"] === true ? { now: "true" } : {};
  const answer = await asking.client.post("/drain", query);
  return told(answer, asking, ({ outcome }) =>
    outcome === "started" ? "the server drains\n" : "the server is draining already\n",
  );
}

async function kick(asking: Asking, id: string): Promise<ExitCode> {
  const answer = await asking.client.post(`/kick/${encodeURIComponent(id)}`);
  return told(answer, asking, () => `${plain(id)} is disconnected\n`);
}

async function reload(asking: Asking): Promise<ExitCode> {
  const answer = await asking.client.post("/reload");
  const { outcome, reload: state } = answer.body as { outcome?: string; reload?: ReloadState };
  const waits = asking.values["wait"] === true && answer.status === 202 && state !== undefined;
  if (!waits) {
    return told(answer, asking, () =>
      outcome === "running"
        ? "a rolling restart is under way; another begins when it is over\n"
        : "a rolling restart begins\n",
    );
  }
  // One that was under way may have begun too early for what it is to pick up.
  const run = state.completed + state.failed + (outcome === "running" ? 2 : 1);
  return await waitForReload(asking, run);
}

/** @param run which of the restarts since the server's start was asked for. */
async function waitForReload(asking: Asking, run: number): Promise<ExitCode> {
  let shown = "";
  for (;;) {
    const answer = await asking.client.get("/reload");
    if (answer.status !== 200) return told(answer, asking, () => "");
    const state = answer.body as unknown as ReloadState;
    const outcome = state.past.find((one) => one.run === run);
    const progress = replacedText(outcome?.slotsDone ?? state.slotsDone, state.slots);
    if (outcome?.problem != null) {
      const why = plain(outcome.problem);
      asking.terminal.writeError(`holdfast: the rolling restart failed: ${why}\n`);
      return EXIT.FAILED;
    }
    // One that is over and not remembered any more was followed by many.
    const isOver = outcome !== undefined || state.completed + state.failed >= run + PAST_MIN;
    if (isOver) return told(answer, asking, () => progress);
    if (asking.terminal.isInteractive && progress !== shown) asking.terminal.write(progress);
    shown = progress;
    await new Promise<void>((resolve) => void systemClock.after(LOOK_MS, resolve));
  }
}

function replacedText(done: number, slots: number): string {
  return `${done} of ${slots} workers replaced\n`;
}

/** Writes what it means, or why it was refused. */
function told(
  { status, body }: AdminAnswer,
  { values, terminal }: Pick<Asking, "values" | "terminal">,
  words: (body: AdminAnswer["body"]) => string,
): ExitCode {
  if (status >= 200 && status < 300) {
    terminal.write(values["json"] === true ? json(body) : words(body));
    return EXIT.OK;
  }
  const { message } = body;
  const why = typeof message === "string" ? message : `it answered with status ${status}`;
  terminal.writeError(`holdfast: ${plain(why)}\n`);
  return status === 400 ? EXIT.USAGE : EXIT.FAILED;
}

/** With every control character escaped: JSON itself lets some of them through. */
function json(body: object): string {
  const written = JSON.stringify(body, null, 2);
  return `${written.replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, escaped)}\n`;
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function text(value: string | boolean | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function widthOf({ isInteractive, columns }: Terminal): number {
  return isInteractive ? columns : UNLIMITED_WIDTH;
}

/** By the first word of the command. */
export const OPERATOR_RUNS: Readonly<
  Record<"stats" | "connections" | "drain" | "kick" | "reload", OperatorRun>
> = { stats: showStats, connections: showConnections, drain, kick, reload };

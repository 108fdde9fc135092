// Names what limited a level: rules, from the surest to those that only fit, asked in turn. The
// probe's own faults come first, so that the server is never blamed for them; then what the server
// or the kernel says in words and figures; then what was seen from outside.

import { failureFacts, type Party } from "./failure.ts";
import { type Evidence, Findings, type Rule } from "./limit-evidence.ts";
import { acceptRate, conntrack, cutOff } from "./limit-outside.ts";
import {
  policy,
  serverAway,
  serverCpu,
  serverDied,
  serverFiles,
  serverMemory,
} from "./limit-server.ts";
import { actualText, codesText, evidenceLines, filesText, listText } from "./limit-words.ts";
import { formatCount } from "./quantity.ts";
import type { Limit, LimitKind } from "./report.ts";

const RULES: readonly Rule[] = [
  ports,
  generatorFiles,
  generator,
  serverDied,
  // Before files: a server that is nearly full may say so in words, and words are surer.
  policy,
  serverFiles,
  conntrack,
  serverMemory,
  // Before the accept rate: a busy loop is why it accepts slowly.
  serverCpu,
  acceptRate,
  serverAway,
  cutOff,
  objective,
];

/**
 * What limited a level that failed. `text` reads well after `limit: `, without a full stop; where
 * `confidence` is `likely` it says so itself.
 */
export function classifyLimit(evidence: Evidence): Limit {
  const findings = new Findings(evidence);
  for (const rule of RULES) {
    const limit = rule(findings);
    if (limit !== null) return withEvidence(limit, findings);
  }
  return withEvidence(unknown(findings), findings);
}

function withEvidence(limit: Limit, findings: Findings): Limit {
  return { ...limit, evidence: [...limit.evidence, ...evidenceLines(findings)] };
}

function ports(findings: Findings): Limit | null {
  const count = findings.failed("connect.local_exhausted");
  if (!findings.isManyAttempts(count)) return null;
  const { sourcesFree } = findings.evidence.generator;
  const free = sourcesFree === null ? [] : [`local pairs left: ${formatCount(sourcesFree)}`];
  return proberLimit(
    "ports",
    `the probe's local ports: ${formatCount(count)} connects found no free address and port`,
    "give more local addresses (--local-ips), more ports (--local-ports) or more targets",
    free,
  );
}

function generatorFiles(findings: Findings): Limit | null {
  const count = findings.failed("prober.fd");
  if (!findings.isManyAttempts(count)) return null;
  const { fds, fdLimit } = findings.evidence.generator;
  const used = filesText(fds, fdLimit) ?? `${formatCount(count)} connects found none free`;
  const advice = "raise the probe's limit (`ulimit -n`), or let it start more processes";
  return proberLimit("generator-files", `the probe's own file limit: ${used}`, advice);
}

function generator(findings: Findings): Limit | null {
  const { boundReasons } = findings.evidence.generator;
  const advice = "ask for less at a time, or give the probe more cores; the server is not judged";
  if (boundReasons.length > 0) {
    return proberLimit("generator", `the probe itself: ${listText(boundReasons)}`, advice);
  }
  const count = findings.failed("prober.memory");
  if (!findings.isManyAttempts(count)) return null;
  const text = `the probe's kernel: it had no buffers for ${formatCount(count)} connects`;
  return proberLimit("generator", text, "raise net.ipv4.tcp_mem, or free memory here");
}

function proberLimit(
  kind: LimitKind,
  text: string,
  advice: string,
  evidence: readonly string[] = [],
): Limit {
  return { kind, party: "prober", confidence: "certain", text, evidence, advice };
}

function objective({ evidence }: Findings): Limit | null {
  const { missed, server } = evidence;
  if (missed.length === 0) return null;
  const texts = missed.map((result) => {
    const why = result.metric === "errors" ? codesText(evidence.failures) : "";
    return `${result.text} (${actualText(result)}${why === "" ? "" : `; ${why}`})`;
  });
  return {
    kind: "objective",
    party: "server",
    confidence: "certain",
    text: `${missed.length === 1 ? "the objective" : "the objectives"} ${listText(texts)}`,
    evidence: [],
    advice: server === null ? "give --server-stats, to see what the server lacks" : "",
  };
}

function unknown({ evidence }: Findings): Limit {
  const lost = [...evidence.failures, ...evidence.deaths].toSorted((a, b) => b.count - a.count);
  const codes = codesText(lost);
  return {
    kind: "unknown",
    party: partyOf(lost[0]?.code),
    confidence: "likely",
    text: codes === "" ? "unknown, for nothing failed" : `unknown; what failed: ${codes}`,
    evidence: [],
    advice: evidence.server === null ? "give --server-stats, to see what the server lacks" : "",
  };
}

function partyOf(code: string | undefined): Party {
  return code === undefined ? "server" : failureFacts(code).party;
}

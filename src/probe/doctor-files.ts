// Open files: every connection is one, in the process that holds it and in the whole system.

import {
  FILES_RESERVED,
  type Finding,
  generatorsFor,
  roundUp,
  type Scene,
  setSysctl,
} from "./doctor-check.ts";
import type { FileLimit, Host } from "./host.ts";
import { formatCount } from "./quantity.ts";

/** `connection.max` of a Holdfast server is this share of its file limit unless it is set. */
const SERVER_SHARE = 0.9;
/** Files of the system that others open meanwhile. */
const SYSTEM_FILES_RESERVED = 1_000;
const LIMITS_FILE = "/etc/security/limits.conf";

export function checkServerFiles(scene: Scene, connections: number): Finding | null {
  const limit = scene.host.fileLimit;
  if (!scene.isServer || limit === null) return null;
  const processes = scene.processes ?? 1;
  const each = Math.ceil(connections / processes);
  const needed = each + FILES_RESERVED;
  const comfortable = Math.max(needed, Math.ceil(each / SERVER_SHARE));
  const about = {
    name: processes === 1 ? "files, server" : `files, ${processes} servers`,
    found: limitText(limit),
    needed: formatCount(needed),
  };
  if (limit.soft >= comfortable) {
    return { ...about, level: "ok", text: "a file for every connection of a process", mend: "" };
  }
  const mend = raiseFiles(scene.host, roundUp(comfortable)).join("\n");
  if (limit.soft >= needed) {
    const max = formatCount(Math.floor(limit.soft * SERVER_SHARE));
    const text = `enough, but a Holdfast server takes ${max} unless its connection.max is set`;
    return { ...about, level: "warn", text, mend };
  }
  const split = Math.ceil(connections / Math.max(1, limit.hard - FILES_RESERVED));
  const text =
    needed <= limit.hard
      ? "the soft limit is too low"
      : `the hard limit is too low: raise it as root, or spread the connections over ` +
        `${formatCount(split)} server processes`;
  return { ...about, level: "fail", text, mend };
}

/** The probe starts as many processes as its file limit asks for: many of them cost time. */
export function checkClientFiles(scene: Scene, connections: number): Finding | null {
  const limit = scene.host.fileLimit;
  if (!scene.isClient || limit === null) return null;
  const processes = generatorsFor(scene, connections);
  const each = Math.ceil(connections / Math.max(1, processes));
  const about = {
    name: "files, probe",
    found: limitText(limit),
    needed: `${formatCount(each + FILES_RESERVED)} x ${formatCount(processes)}`,
  };
  if (limit.soft <= FILES_RESERVED) {
    const text = `a generator process needs ${FILES_RESERVED} files for itself`;
    const mend = raiseFiles(scene.host, roundUp(connections + FILES_RESERVED)).join("\n");
    return { ...about, level: connections === 0 ? "ok" : "fail", text, mend };
  }
  if (processes <= Math.max(scene.processes ?? 1, scene.host.cores)) {
    const text = processes === 1 ? "one generator process" : `${processes} generator processes`;
    return { ...about, level: "ok", text: `${text} will do`, mend: "" };
  }
  const target = scene.target?.text ?? "TARGET";
  const wanted = roundUp(Math.ceil(connections / scene.host.cores) + FILES_RESERVED);
  const mend = [
    `holdfast-probe capacity --generators ${processes} ${target}  # it starts them by itself`,
    ...raiseFiles(scene.host, wanted),
  ].join("\n");
  const text =
    `the probe starts ${formatCount(processes)} generator processes for this; they share ` +
    `${scene.host.cores === 1 ? "one core" : `${scene.host.cores} cores`}`;
  return { ...about, level: "warn", text, mend };
}

/** The highest limit that any process can be given. Matters only where a limit must be raised. */
export function checkFileLimitMax(scene: Scene, connections: number): Finding | null {
  const { fileLimit, fileLimitMax } = scene.host;
  if (!scene.isServer || fileLimitMax === null) return null;
  const needed = Math.ceil(connections / (scene.processes ?? 1)) + FILES_RESERVED;
  const about = {
    name: "fs.nr_open",
    found: formatCount(fileLimitMax),
    needed: formatCount(needed),
  };
  if (needed <= Math.max(fileLimitMax, fileLimit?.soft ?? 0)) {
    return { ...about, level: "ok", text: "no process's limit can be above this", mend: "" };
  }
  const mend = setSysctl("fs.nr_open", String(roundUp(needed))).join("\n");
  const text = "not even root may give a process so many files";
  return { ...about, level: "fail", text, mend };
}

export function checkSystemFiles(scene: Scene, connections: number): Finding | null {
  const { fileMax, filesOpen } = scene.host;
  if (fileMax === null) return null;
  const needed = connections * scene.ends + (filesOpen ?? 0) + SYSTEM_FILES_RESERVED;
  const about = { name: "fs.file-max", found: formatCount(fileMax), needed: formatCount(needed) };
  if (needed <= fileMax) {
    return { ...about, level: "ok", text: "files of the whole system", mend: "" };
  }
  const text = `files of the whole system; ${formatCount(filesOpen ?? 0)} are open already`;
  const mend = setSysctl("fs.file-max", String(roundUp(needed))).join("\n");
  return { ...about, level: "fail", text, mend };
}

/** For this shell; then for services and logins. */
function raiseFiles(host: Host, wanted: number): readonly string[] {
  const hard = host.fileLimit?.hard ?? 0;
  const isBeyondMax = wanted > (host.fileLimitMax ?? Infinity);
  const now =
    wanted <= hard
      ? `ulimit -Sn ${wanted}`
      : `ulimit -n ${wanted}  # as root: beyond the hard limit of ${formatCount(hard)}`;
  return [
    ...(isBeyondMax ? setSysctl("fs.nr_open", String(wanted)) : []),
    now,
    `LimitNOFILE=${wanted}  # for good, of services: [Service] of the systemd unit`,
    `printf '%s nofile ${wanted}\\n' '* -' 'root -' >> ${LIMITS_FILE}  # for good, of logins`,
  ];
}

function limitText({ soft, hard }: FileLimit): string {
  const softText = countText(soft);
  return soft === hard ? softText : `${softText} (hard ${countText(hard)})`;
}

function countText(count: number): string {
  return count === Infinity ? "unlimited" : formatCount(count);
}

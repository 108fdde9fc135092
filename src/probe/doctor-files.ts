// Open files: every connection is one, in the process that holds it and in the whole system.

import {
  FILES_RESERVED,
  type Finding,
  finding,
  generatorsFor,
  type Mend,
  quantity,
  roundUp,
  type Scene,
  setSysctl,
} from "./doctor-check.ts";
import type { Host } from "./host.ts";
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
  const needed = each + filesReserved(scene);
  const about = {
    name: processes === 1 ? "files, server" : `files, ${processes} servers`,
    found: quantity(limit.soft, "files per process"),
    needed: quantity(needed, "files per process"),
  };
  const raised = raiseFiles(scene.host, roundUp(Math.max(needed, Math.ceil(each / SERVER_SHARE))));
  if (limit.soft < needed) {
    const split = Math.ceil(connections / Math.max(1, limit.hard - filesReserved(scene)));
    const text =
      needed <= limit.hard
        ? `the soft limit is too low; the hard one is ${limitText(limit.hard)}`
        : `the hard limit, ${limitText(limit.hard)}, is too low: raise it as root, or spread the ` +
          `connections over ${formatCount(split)} server processes`;
    return finding(about, "fail", text, raised);
  }
  const setting = connectionMaxFor(scene, connections);
  if (setting === null) return finding(about, "ok", "a file for every connection of a process");
  const text = "enough, but not for a Holdfast server whose connection.max is not set";
  return finding(about, "warn", text, [setting, ...raised]);
}

/** What makes a Holdfast server take so many; null where it does, is not here, or asks itself. */
export function connectionMaxFor(scene: Scene, connections: number): Mend | null {
  const { host, isServer, processes, server } = scene;
  if (!isServer || host.fileLimit === null || server !== null) return null;
  const each = Math.ceil(connections / (processes ?? 1));
  const most = Math.floor(host.fileLimit.soft * SERVER_SHARE);
  if (each <= most) return null;
  const text = `a Holdfast server takes ${formatCount(most)} by default, 90% of its files`;
  return { text, command: `holdfast serve --connection-max ${each}` };
}

/** The probe starts as many processes as its file limit asks for: many of them cost time. */
export function checkClientFiles(scene: Scene, connections: number): Finding | null {
  const { host, isClient } = scene;
  const limit = host.fileLimit;
  if (!isClient || limit === null) return null;
  const processes = generatorsFor(scene, connections);
  const each = Math.ceil(connections / processes);
  const about = {
    name: "files, probe",
    found: quantity(limit.soft, "files per process"),
    needed: quantity(each + FILES_RESERVED, "files per process"),
  };
  if (limit.soft <= FILES_RESERVED && connections > 0) {
    const text = `a generator process needs ${FILES_RESERVED} files for itself`;
    return finding(about, "fail", text, raiseFiles(host, roundUp(connections + FILES_RESERVED)));
  }
  if (processes <= Math.max(scene.processes ?? 1, host.cores)) {
    const text = processes === 1 ? "one generator process" : `${processes} generator processes`;
    return finding(about, "ok", `${text} will do`);
  }
  const text =
    `the probe starts ${formatCount(processes)} generator processes for this, and they share ` +
    `${host.cores === 1 ? "one core" : `${host.cores} cores`}: with more files each, fewer will do`;
  const wanted = roundUp(Math.ceil(connections / host.cores) + FILES_RESERVED);
  return finding(about, "warn", text, raiseFiles(host, wanted));
}

/** The highest limit that any process can be given. Matters only where a limit must be raised. */
export function checkFileLimitMax(scene: Scene, connections: number): Finding | null {
  const { fileLimit, fileLimitMax } = scene.host;
  if (!scene.isServer || fileLimitMax === null) return null;
  const needed = Math.ceil(connections / (scene.processes ?? 1)) + filesReserved(scene);
  const about = {
    name: "fs.nr_open",
    found: quantity(fileLimitMax, "files per process"),
    needed: quantity(needed, "files per process"),
  };
  if (needed <= Math.max(fileLimitMax, fileLimit?.soft ?? 0)) {
    return finding(about, "ok", "no process's limit can be above this");
  }
  const mend = setSysctl("fs.nr_open", String(roundUp(needed)));
  return finding(about, "fail", "not even root may give a process so many files", mend);
}

export function checkSystemFiles(scene: Scene, connections: number): Finding | null {
  const { fileMax, filesOpen } = scene.host;
  if (fileMax === null) return null;
  const needed = connections * scene.ends + (filesOpen ?? 0) + SYSTEM_FILES_RESERVED;
  const about = {
    name: "fs.file-max",
    found: quantity(fileMax, "files"),
    needed: quantity(needed, "files"),
  };
  if (needed <= fileMax) return finding(about, "ok", "files of the whole system");
  const text = `files of the whole system; ${formatCount(filesOpen ?? 0)} are open already`;
  return finding(about, "fail", text, setSysctl("fs.file-max", String(roundUp(needed))));
}

function filesReserved({ server }: Scene): number {
  return server?.filesReserved ?? FILES_RESERVED;
}

/** For this shell; then for services and logins. */
function raiseFiles(host: Host, wanted: number): readonly Mend[] {
  const hard = host.fileLimit?.hard ?? 0;
  const isBeyondMax = wanted > (host.fileLimitMax ?? Infinity);
  const beyond = `of this shell, as root: it is beyond the hard limit of ${limitText(hard)}`;
  return [
    ...(isBeyondMax ? setSysctl("fs.nr_open", String(wanted)) : []),
    wanted <= hard
      ? { text: "of this shell", command: `ulimit -Sn ${wanted}` }
      : { text: beyond, command: `ulimit -n ${wanted}` },
    {
      text: "for good, of a service: in [Service] of its systemd unit",
      setting: `LimitNOFILE=${wanted}`,
    },
    {
      text: "for good, of logins",
      command: `printf '%s nofile ${wanted}\\n' '* -' 'root -' >> ${LIMITS_FILE}`,
    },
  ];
}

function limitText(count: number): string {
  return count === Infinity ? "unlimited" : formatCount(count);
}

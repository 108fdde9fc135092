// The text of a file that others may be writing just now, read so that nothing can block: neither a
// pipe in its place nor a file without end. Whether a text is all that its writer meant to write
// cannot be seen; what shows that it is not, can.
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
} from "node:fs";
import { OptionsError } from "./options-error.ts";

/** A configuration is a few KB: what is larger is another file. */
export const CONFIG_BYTES_MAX = 1_048_576;

/** What was found where a file should be. */
export interface FileReading {
  /** Changes when the file is written, replaced, moved, or given other rights. */
  readonly stamp: string;
  /** Owned by the reading: given back by {@link closeReading}. Null beside a fault. */
  readonly handle: number | null;
  /** Of the file behind the handle, which a replacement of the path leaves as it is. */
  readonly state: string;
  readonly bytes: Buffer;
  /** Why it cannot be taken, as a sentence that goes on after the file's name; null: it can. */
  readonly fault: string | null;
}

/**
 * The text of a file as it is taken at the start, when somebody is there to see what is wrong: from
 * a pipe too, and without a line break at its end.
 *
 * @throws OptionsError where it cannot be read or is not UTF-8.
 */
export function readConfigText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw textError(file, systemFault(codeOf(error)));
  }
  return decoded(bytes, file);
}

/** Whatever `file` leads to, links followed; a fault's code where it leads nowhere. */
export function fileStamp(file: string): string {
  try {
    return stampOf(statSync(file, { bigint: true }));
  } catch (error) {
    return codeOf(error);
  }
}

/** Never throws, never waits. Opens what it reads, and leaves it open: {@link closeReading}. */
export function openReading(file: string): FileReading {
  let stamp = "";
  let handle: number | null = null;
  try {
    const stats = statSync(file, { bigint: true });
    stamp = stampOf(stats);
    refuseKind(stats);
    // A pipe that took the file's place since then is opened without waiting for its writer.
    handle = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const opened = fstatSync(handle, { bigint: true });
    stamp = stampOf(opened);
    refuseKind(opened);
    return { stamp, handle, state: stateOf(opened), bytes: readAll(handle), fault: null };
  } catch (error) {
    if (handle !== null) closeSync(handle);
    const fault = error instanceof Fault ? error.message : systemFault(codeOf(error));
    return {
      stamp: stamp === "" ? codeOf(error) : stamp,
      handle: null,
      state: "",
      bytes: Buffer.alloc(0),
      fault,
    };
  }
}

/** Whether the file, read once more, is still what it was. A replaced one is: nobody writes it. */
export function isUnchanged(reading: FileReading, file: string): boolean {
  const { handle, state, bytes, fault } = reading;
  if (handle === null) {
    const again = openReading(file);
    closeReading(again);
    return again.fault === fault;
  }
  try {
    // Times are coarse: two writes of one size within some milliseconds can look like one.
    return stateOf(fstatSync(handle, { bigint: true })) === state && bytes.equals(readAll(handle));
  } catch {
    return false;
  }
}

export function closeReading({ handle }: FileReading): void {
  if (handle !== null) closeSync(handle);
}

/**
 * What was read, as text.
 *
 * @param previous the text that it replaces, whose end marker it must have too.
 * @throws OptionsError where it cannot be read, is not UTF-8, or was cut off.
 */
export function wholeText(reading: FileReading, file: string, previous: string): string {
  if (reading.fault !== null) throw textError(file, reading.fault);
  const text = decoded(reading.bytes, file);
  const cut = cutFault(text, previous);
  if (cut !== null) throw textError(file, cut);
  return text;
}

function decoded(bytes: Buffer, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw textError(file, "is not UTF-8 text");
  }
}

/** YAML's document end marker as the last line, before empty ones. */
const END_MARKER = /(?:^|\n)\.\.\.[ \t]*\r?\n\s*$/;

function cutFault(text: string, previous: string): string | null {
  if (text === "") return "is empty: it was cut off; write {} where defaults are meant";
  if (!text.endsWith("\n")) {
    return "does not end with a line break: it was cut off, or its last line lacks one";
  }
  if (END_MARKER.test(previous) && !END_MARKER.test(text)) {
    return (
      "was cut off: it does not end with the line ... as the one in force does " +
      "(to do without that line, restart)"
    );
  }
  return null;
}

/** That `file` cannot be taken: "FILE FAULT". */
export function textError(file: string, fault: string): OptionsError {
  const origin = "configuration file";
  const message = `${file} ${fault}`;
  return new OptionsError([{ key: file, origin, value: undefined, message, suggestion: null }]);
}

/** Thrown and caught here: its message is what the reading says. */
class Fault extends Error {}

function refuseKind(stats: BigIntStats): void {
  if (stats.isDirectory()) throw new Fault("is a directory");
  if (!stats.isFile()) throw new Fault("is no regular file (a pipe, socket or device)");
  if (stats.size > BigInt(CONFIG_BYTES_MAX)) throw new Fault("is larger than 1 MiB");
}

/** Files that tell no size, such as those of /proc, are read to their end as well. */
function readAll(handle: number): Buffer {
  const buffer = Buffer.allocUnsafe(CONFIG_BYTES_MAX + 1);
  let length = 0;
  for (;;) {
    const count = readSync(handle, buffer, length, buffer.length - length, length);
    length += count;
    if (length > CONFIG_BYTES_MAX) throw new Fault("is larger than 1 MiB");
    if (count === 0) return Buffer.from(buffer.subarray(0, length));
  }
}

function stampOf(stats: BigIntStats): string {
  return `${stateOf(stats)}:${stats.ctimeNs}:${stats.mode}`;
}

function stateOf({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}`;
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "UNKNOWN";
}

function systemFault(code: string): string {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "does not exist",
    EISDIR: "is a directory",
    EACCES: "may not be read by this user",
    ELOOP: "is a symbolic link that leads to itself",
  };
  return reasons[code] ?? `cannot be read (${code})`;
}

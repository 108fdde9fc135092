// One row of the option table: what a value may be, and what it means. Rows are data; checking a
// value against its row is option-schema.ts.
import type { OptionValue } from "./options.ts";

export type OptionType = "integer" | "number" | "boolean" | "text" | "choice" | "list";

/**
 * How a new value comes into force. live: swapped in running servers, for the connections they
 * have as well. rolling: by workers that start, so it waits for a rolling restart. supervisor: by
 * a process that starts from nothing.
 */
export const RELOADS = ["live", "rolling", "supervisor"] as const;
export type Reload = (typeof RELOADS)[number];

export interface OptionRow {
  readonly type: OptionType;
  readonly default: OptionValue;
  /** Whether null is a value. It has a meaning of its own, told by `nullMeans`. */
  readonly nullable: boolean;
  readonly nullMeans: string;
  /** A word that stands for null wherever a value is written: "auto". Empty: there is none. */
  readonly nullName: string;
  /** How a new value comes into force. */
  readonly reload: Reload;
  /** Inclusive. Of a text the length in characters, of a list the number of entries. */
  readonly min: number;
  /** Inclusive, as `min`. */
  readonly max: number;
  readonly choices: readonly string[];
  /** What the number counts: "ms", "bytes", "connections". Empty where nothing is counted. */
  readonly unit: string;
  readonly doc: string;
}

/** The row of an option of type T: so the compiler sees a row that does not fit its option. */
export interface OptionRowOf<T extends OptionValue> extends OptionRow {
  readonly default: T;
  readonly nullable: null extends T ? true : false;
}

interface Bounds<T> {
  readonly default: T;
  readonly min: number;
  readonly max: number;
}

const NO_BOUNDS = { min: 0, max: 0 } as const;
const BLANK = {
  nullable: false,
  nullMeans: "",
  nullName: "",
  reload: "live",
  choices: [],
  unit: "",
} as const;

export function integer(
  bounds: Bounds<number> & { readonly unit: string },
  doc: string,
): OptionRowOf<number> {
  return { ...BLANK, type: "integer", ...bounds, doc };
}

export function fraction(bounds: Bounds<number>, doc: string): OptionRowOf<number> {
  return { ...BLANK, type: "number", ...bounds, doc };
}

export function boolean(value: boolean, doc: string): OptionRowOf<boolean> {
  return { ...BLANK, ...NO_BOUNDS, type: "boolean", default: value, doc };
}

export function text(bounds: Bounds<string>, doc: string): OptionRowOf<string> {
  return { ...BLANK, type: "text", ...bounds, doc };
}

export function choice<T extends string>(
  choices: readonly T[],
  value: NoInfer<T>,
  doc: string,
): OptionRowOf<T> {
  return {
    ...BLANK,
    ...NO_BOUNDS,
    type: "choice",
    choices,
    default: value,
    doc,
  } as unknown as OptionRowOf<T>;
}

export function list(
  bounds: Bounds<readonly string[]>,
  doc: string,
): OptionRowOf<readonly string[]> {
  return { ...BLANK, type: "list", ...bounds, doc };
}

/**
 * The same row with null as its default; `means` says what the program does with it, and `name` is
 * a word for it.
 */
export function nullable<T extends OptionValue>(
  row: OptionRowOf<T>,
  means: string,
  name: string = "",
): OptionRowOf<T | null> {
  return { ...row, default: null, nullable: true, nullMeans: means, nullName: name };
}

/** The same row, whose value is taken up by workers that start. Rows are live otherwise. */
export function rolling<R extends OptionRow>(row: R): R {
  return { ...row, reload: "rolling" };
}

/** The same row, whose value is taken up by a supervisor that starts. */
export function supervisor<R extends OptionRow>(row: R): R {
  return { ...row, reload: "supervisor" };
}

/** Null as users write it: the row's word for it, where it has one. */
export function nullText({ nullName }: OptionRow): string {
  return nullName === "" ? "null" : nullName;
}

/** How a new value comes into force, as the end of a sentence. */
export const RELOAD_MEANS: { readonly [R in Reload]: string } = {
  live: "at once, in running servers",
  rolling: "with a rolling restart (holdfast reload)",
  supervisor: "when holdfast serve is started anew",
};

/** What a value must be, for messages and for the reference: "an integer from 0 to 65535". */
export function allowed(row: OptionRow): string {
  const or = row.nullable ? ` or ${nullText(row)}` : "";
  const unit = row.unit === "" ? "" : ` (${row.unit})`;
  switch (row.type) {
    case "integer":
      return `an integer from ${row.min} to ${row.max}${unit}${or}`;
    case "number":
      return `a number from ${row.min} to ${row.max}${or}`;
    case "boolean":
      return row.nullable ? "true, false or null" : "true or false";
    case "text":
      return `a text of ${row.min} to ${row.max} characters${or}`;
    case "choice":
      return `one of ${row.choices.join(", ")}${or}`;
    case "list":
      return `a list of ${row.min} to ${row.max} texts${or}`;
  }
}

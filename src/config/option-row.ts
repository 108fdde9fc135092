// One row of the option table: what a value may be, and what it means. Rows are data; checking a
// value against its row is option-schema.ts.
import type { OptionValue } from "./options.ts";

export type OptionType = "integer" | "number" | "boolean" | "text" | "choice" | "list";

export interface OptionRow {
  readonly type: OptionType;
  readonly default: OptionValue;
  /** Whether null is a value. It has a meaning of its own, told by `nullMeans`. */
  readonly nullable: boolean;
  readonly nullMeans: string;
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
const BLANK = { nullable: false, nullMeans: "", choices: [], unit: "" } as const;

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

/** The same row with null as its default; `means` says what the program does with it. */
export function nullable<T extends OptionValue>(
  row: OptionRowOf<T>,
  means: string,
): OptionRowOf<T | null> {
  return { ...row, default: null, nullable: true, nullMeans: means };
}

/** What a value must be, for messages and for the reference: "an integer from 0 to 65535". */
export function allowed(row: OptionRow): string {
  const or = row.nullable ? " or null" : "";
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

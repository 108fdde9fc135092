// The configuration file: YAML with one mapping per area. Reads it with line numbers; writes one.
import { readFileSync } from "node:fs";
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  parseDocument,
  type YAMLError,
  type YAMLMap,
} from "yaml";
import { readTree, type SourceReading, type TreeLeaf } from "./option-sources.ts";
import { optionAt, OPTION_AREAS, OPTION_PATHS } from "./option-table.ts";
import type { OptionIssue } from "./options-error.ts";
import type { OptionArea, OptionPath, Options } from "./options.ts";

/** Reads `file`. One that cannot be read is an issue like any other; `origin` says who named it. */
export function readConfigFile(file: string, origin: string): SourceReading {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    return { entries: [], issues: [fileIssue(file, origin, readFault(file, error))] };
  }
  return parseConfig(text, file);
}

function readFault(file: string, error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "does not exist",
    EISDIR: "is a directory",
    EACCES: "may not be read by this user",
    ERR_ENCODING_INVALID_ENCODED_DATA: "is not UTF-8 text",
  };
  return `${file} ${reasons[code] ?? `cannot be read (${code})`}`;
}

/** Reads the text of a configuration file; `file` is the name that origins show. */
export function parseConfig(text: string, file: string): SourceReading {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const faults = [...document.errors, ...document.warnings];
  const issues = faults.map((fault) => syntaxIssue(fault, file, text, lines));
  // Past a syntax error keys land anywhere; past a duplicate key the rest is as it was meant.
  if (faults.some((fault) => fault.code !== "DUPLICATE_KEY")) return { entries: [], issues };
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) return { entries: [], issues };
  if (!isMap(root)) {
    const message = "the file must be a mapping of areas (tcp, connection, ...) to their options";
    return { entries: [], issues: [fileIssue(file, `${file}:1`, message)] };
  }
  try {
    const reading = readTree(mapLeaves(document, root, file, lines));
    return { entries: reading.entries, issues: [...issues, ...reading.issues] };
  } catch (error) {
    // An alias without its anchor, or aliases that unfold to something huge.
    if (!(error instanceof ReferenceError)) throw error;
    return { entries: [], issues: [...issues, fileIssue(file, file, notYaml(error.message))] };
  }
}

function notYaml(message: string): string {
  return `cannot be read as YAML: ${message}`;
}

function fileIssue(key: string, origin: string, message: string): OptionIssue {
  return { key, origin, value: undefined, message, suggestion: null };
}

function syntaxIssue(
  fault: YAMLError,
  file: string,
  text: string,
  lines: LineCounter,
): OptionIssue {
  const origin = `${file}:${lines.linePos(fault.pos[0]).line}`;
  if (fault.code === "MULTIPLE_DOCS") {
    return fileIssue(file, origin, "the file holds several documents: remove the line ---");
  }
  if (fault.code !== "DUPLICATE_KEY") return fileIssue(file, origin, notYaml(fault.message));
  const key = /^[\w.-]+/.exec(text.slice(fault.pos[0]))?.[0] ?? "a key";
  return fileIssue(key, origin, `${key} is given twice`);
}

function mapLeaves(
  document: Document,
  root: YAMLMap,
  file: string,
  lines: LineCounter,
): TreeLeaf[] {
  const leaves: TreeLeaf[] = [];
  for (const area of pairs(document, root, file, lines)) {
    if (isMap(area.node) && area.node.items.length > 0) {
      for (const option of pairs(document, area.node, file, lines)) {
        leaves.push({ keys: [area.key, option.key], value: option.value, origin: option.origin });
      }
    } else if (!isMap(area.node) || !Object.hasOwn(OPTION_AREAS, area.key)) {
      leaves.push({ keys: [area.key], value: area.value, origin: area.origin });
    }
  }
  return leaves;
}

interface ConfigPair {
  readonly key: string;
  readonly node: unknown;
  readonly value: unknown;
  readonly origin: string;
}

function pairs(document: Document, map: YAMLMap, file: string, lines: LineCounter): ConfigPair[] {
  return map.items.map(({ key, value }) => {
    const node = isAlias(value) ? value.resolve(document) : value;
    const offset = isNode(key) ? (key.range?.[0] ?? 0) : 0;
    return {
      key: isScalar(key) ? String(key.value) : String(key),
      node,
      value: isNode(value) ? value.toJS(document) : value,
      origin: `${file}:${lines.linePos(offset).line}`,
    };
  });
}

/** What follows each value as a comment when options are written: their origins, or nothing. */
export type Remarks = Readonly<Record<OptionPath, string>> | null;

/** A configuration file that gives exactly `options` when it is read. */
export function formatConfig(options: Options, remarks: Remarks): string {
  const output: string[] = [];
  for (const area of Object.keys(OPTION_AREAS) as OptionArea[]) {
    output.push(`${area}:`);
    for (const path of OPTION_PATHS) {
      if (!path.startsWith(`${area}.`)) continue;
      const name = path.slice(area.length + 1);
      const value = optionAt(options, path);
      const remark = remarks === null ? "" : ` # ${remarks[path]}`;
      // JSON is YAML, on one line, and never mistakes a text for a number or a boolean.
      output.push(`  ${name}: ${JSON.stringify(value)}${remark}`);
    }
  }
  return `${output.join("\n")}\n`;
}

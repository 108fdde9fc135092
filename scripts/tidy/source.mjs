// What one source file may contain: calls to the clock and to randomness, lengths of functions,
// comments; and what it may be called. A file is parsed once; imports.mjs uses the same facts.
import { parseSync, visitorKeys } from "oxc-parser";

const functionLinesMax = 70;

// Functions that were longer than the limit when it was introduced, "path#name": lines. An entry
// may only shrink, and goes when its function fits.
const longFunctions = {};

const clockFiles = [
  ...[/^src\/base\/clock\.ts$/, /^src\/cli\//, /^src\/client\/(node|browser)\.ts$/],
  /^src\/probe\/generator-process\.ts$/,
];
const randomFiles = [/^src\/base\/prng\.ts$/, /^src\/cli\//, /^src\/client\/(node|browser)\.ts$/];
const clock = {
  names: new Set(["setTimeout", "setInterval", "setImmediate"]),
  members: new Set(["Date.now", "performance.now", "process.hrtime"]),
  modules: new Set(["node:timers", "node:timers/promises", "timers", "timers/promises"]),
  instead: "take the clock as a parameter (src/base/clock.ts)",
};
const random = {
  names: new Set(),
  members: new Set(["Math.random"]),
  modules: new Set(),
  instead: "take the generator as a parameter (src/base/prng.ts)",
};

const bannedWords = new Set(
  "util utils helper helpers common misc types interface interfaces manager managers".split(" "),
);
const fileName = /^[a-z0-9]+(-[a-z0-9]+)*(\.(test|config|d))*\.(ts|mts|mjs|js)$/;
const functionTypes = new Set([
  "FunctionDeclaration",
  "FunctionExpression",
  "ArrowFunctionExpression",
]);

/** @returns the facts of one file that the rules need; lines count from 1 */
export function parseSource(path, text) {
  const starts = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  const lineOf = (offset) => {
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
  const parsed = parseSync(path, text, { sourceType: "module" });
  const facts = { errors: [], imports: [], references: [], functions: [], comments: [], text };
  for (const error of parsed.errors) {
    facts.errors.push({ line: lineOf(error.labels[0]?.start ?? 0), message: error.message });
  }
  for (const { value, start } of parsed.comments) {
    facts.comments.push({ line: lineOf(start), text: value });
  }
  collect(parsed.program, undefined, undefined, facts, lineOf);
  return facts;
}

function collect(node, parent, key, facts, lineOf) {
  collectImport(node, facts, lineOf);
  collectReference(node, parent, key, facts, lineOf);
  if (functionTypes.has(node.type)) {
    const first = lineOf(node.start);
    const length = lineOf(node.end) - first + 1;
    const callee = parent?.type === "CallExpression" ? firstName(parent.callee) : "";
    facts.functions.push({ line: first, length, name: functionName(node, parent), callee });
  }
  for (const childKey of visitorKeys[node.type] ?? []) {
    const child = node[childKey];
    if (Array.isArray(child)) {
      for (const item of child) if (item) collect(item, node, childKey, facts, lineOf);
    } else if (child) {
      collect(child, node, childKey, facts, lineOf);
    }
  }
}

// `type` means that nothing is left of the import at run time. With verbatimModuleSyntax
// `import { type A }` leaves `import {}`, which still loads the module and is no type import.
function collectImport(node, facts, lineOf) {
  const add = (source, type, star = false) => {
    const specifier = source?.type === "Literal" ? String(source.value) : undefined;
    facts.imports.push({ specifier, type, star, line: lineOf(node.start) });
  };
  if (node.type === "ImportDeclaration") {
    add(node.source, node.importKind === "type");
  } else if (node.type === "ExportAllDeclaration") {
    add(node.source, node.exportKind === "type", node.exported === null);
  } else if (node.type === "ExportNamedDeclaration" && node.source) {
    add(node.source, node.exportKind === "type");
  } else if (node.type === "TSImportType") {
    add(node.source, true);
  } else if (node.type === "ImportExpression") {
    add(node.source, false);
  } else if (node.type === "CallExpression" && variableName(node.callee) === "require") {
    add(node.arguments[0], false);
  }
}

function collectReference(node, parent, key, facts, lineOf) {
  const line = lineOf(node.start);
  if (node.type === "NewExpression" || node.type === "CallExpression") {
    // With an argument a Date is only a notation for a time that came from elsewhere.
    if (variableName(node.callee) === "Date" && node.arguments.length === 0) {
      facts.references.push({ line, name: "Date.now", text: "new Date()" });
    }
  } else if (node.type === "MemberExpression") {
    const object = variableName(node.object);
    const property = node.computed ? node.property.value : node.property.name;
    if (object === "globalThis") facts.references.push({ line, name: property });
    else if (object) facts.references.push({ line, name: `${object}.${property}` });
  } else if (node.type === "Identifier" && !isMereName(parent, key)) {
    facts.references.push({ line, name: node.name });
  }
}

// Whether an identifier in this place names a member or a type instead of reading a variable.
function isMereName(parent, key) {
  if (!parent) return true;
  if (parent.type === "MemberExpression") return key === "property" && !parent.computed;
  if (key === "key") return !parent.computed;
  return parent.type.startsWith("TS") && key !== "expression";
}

// The global or local variable that an expression names, also by way of globalThis.
function variableName(node) {
  if (node.type === "Identifier") return node.name;
  const isGlobal = node.type === "MemberExpression" && node.object.name === "globalThis";
  return isGlobal ? (node.property.name ?? "") : "";
}

// The first name of describe(...), describe.each(...)(...) and the like.
function firstName(node) {
  if (node.type === "MemberExpression") return firstName(node.object);
  if (node.type === "CallExpression") return firstName(node.callee);
  return node.name ?? "";
}

function functionName(node, parent) {
  const named = node.id ?? parent?.key ?? parent?.id;
  return named?.name ?? "(anonymous)";
}

/** @returns the violations of one file, except those that need the whole import graph */
export function checkSource(path, source) {
  const found = source.errors.map(({ line, message }) => ({ path, line, rule: "syntax", message }));
  found.push(...checkFileName(path));
  if (path.startsWith("src/")) {
    if (!clockFiles.some((file) => file.test(path))) found.push(...banned(path, source, clock));
    if (!randomFiles.some((file) => file.test(path))) found.push(...banned(path, source, random));
  } else if (path.startsWith("test/")) {
    found.push(...banned(path, source, random));
    if (path.startsWith("test/sim/")) found.push(...banned(path, source, clock));
  }
  found.push(...checkFunctions(path, source.functions));
  for (const { line, text } of source.comments) {
    const word = /\b(TODO|FIXME|XXX|HACK)\b/.exec(text);
    if (word)
      found.push({ path, line, rule: "todo", message: `${word[0]}: do it, or open an issue` });
  }
  return found;
}

function banned(path, source, { names, members, modules, instead }) {
  const found = [];
  const add = (line, what) => {
    found.push({ path, line, rule: "banned-call", message: `${what}: ${instead}` });
  };
  for (const { line, name, text } of source.references) {
    if (names.has(name) || members.has(name)) add(line, text ?? name);
  }
  for (const { line, specifier } of source.imports)
    if (modules.has(specifier)) add(line, specifier);
  return found;
}

function checkFileName(path) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const violation = (message) => [{ path, line: 1, rule: "file-name", message }];
  if (!fileName.test(name)) return violation(`${name} is not kebab-case`);
  const word = name.split(/[-.]/).find((part) => bannedWords.has(part));
  if (word) return violation(`"${word}" says nothing: name the file after the noun it exports`);
  if (name === "index.ts" && path.startsWith("src/") && path !== "src/index.ts") {
    return violation("no barrels: src/index.ts is the only export list");
  }
  return [];
}

function checkFunctions(path, functions) {
  const found = [];
  for (const { line, length, name, callee } of functions) {
    // The body of a describe() is a list of tests, not a procedure.
    if (path.startsWith("test/") && callee === "describe") continue;
    const allowed = longFunctions[`${path}#${name}`] ?? functionLinesMax;
    if (length > allowed) {
      const message = `${name} has ${length} lines, ${allowed} are allowed`;
      found.push({ path, line, rule: "function-length", message });
    } else if (allowed > functionLinesMax && length < allowed) {
      const message = `${name} shrank to ${length} lines: lower or drop its entry in longFunctions`;
      found.push({ path, line, rule: "function-length", message });
    }
  }
  return found;
}

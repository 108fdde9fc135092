// House rules that a machine can check, over every file of the repository:
//   node scripts/tidy.mjs [folder]
// prints one line per violation as `path:line: rule: message` and a count, and exits with 1 if
// there is any. The rules, and the tables of what they allow, are in scripts/tidy/.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { checkImports } from "./tidy/imports.mjs";
import { checkLinks } from "./tidy/links.mjs";
import { checkSource, parseSource } from "./tidy/source.mjs";
import { checkText } from "./tidy/text.mjs";

const ignoredFolders = new Set(["node_modules", "dist", "build", ".git", ".cache", "coverage"]);
const ignoredFiles = /\.(tgz|log)$/;
const code = /\.(ts|mts|mjs|js)$/;
const generated = /^src\/wire\/generated\//;

function pathsUnder(root, folder = root) {
  const paths = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!ignoredFolders.has(entry.name)) paths.push(...pathsUnder(root, path));
    } else if (entry.isFile() && !ignoredFiles.test(entry.name)) {
      paths.push(relative(root, path).replaceAll("\\", "/"));
    }
  }
  return paths;
}

/**
 * @typedef {{path: string, line: number, rule: string, message: string}} Violation
 *
 * Checks every file under a folder that is laid out like this repository.
 * @param {string} root the folder
 * @returns {{files: number, violations: Violation[]}} how many files were read, and the violations
 *   by path, then line
 */
export function checkTree(root) {
  const violations = [];
  let files = 0;
  const paths = pathsUnder(root);
  const sources = new Map();
  for (const path of paths) {
    const text = readFileSync(join(root, path), "utf8");
    // A binary file has no lines to check.
    if (text.includes("\0")) continue;
    files += 1;
    violations.push(...checkText(path, text));
    if (path.endsWith(".md")) violations.push(...checkLinks(root, path, text));
    if (!code.test(path)) continue;
    const source = parseSource(path, text);
    sources.set(path, source);
    if (!generated.test(path)) violations.push(...checkSource(path, source));
  }
  violations.push(...checkImports(sources));
  // A check that finds nothing to check must not pass.
  if (![...sources.keys()].some((path) => path.startsWith("src/"))) {
    violations.push({ path: "src", line: 1, rule: "empty", message: "there is no source file" });
  }
  violations.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1));
  return { files, violations };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = resolve(process.argv[2] ?? dirname(dirname(fileURLToPath(import.meta.url))));
  const { files, violations } = checkTree(root);
  for (const { path, line, rule, message } of violations) {
    console.log(`${path}:${line}: ${rule}: ${message}`);
  }
  const count = violations.length;
  console.log(`${count} violation${count === 1 ? "" : "s"} in ${files} files`);
  process.exitCode = count === 0 ? 0 : 1;
}

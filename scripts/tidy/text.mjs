// Rules for the lines of any text file: their length and number, and what must not be written in a
// public repository.

const columnsMax = 100;
const codeLike = /\.(ts|mts|mjs|js|proto|sh)$|^\.ci\//;
const generated = /^src\/wire\/generated\//;
const machineText = /^(package-lock\.json|bench\/results\/)/;
const temporaryFilesAllowed = /^(test|bench|scripts)\//;

function linesMax(path) {
  if (!/\.(ts|mts|mjs|js)$/.test(path) || generated.test(path)) return Infinity;
  return path.startsWith("test/") ? 900 : 600;
}

const machinePath = /(?<![\w.$~@-])\/(work|root|tmp)\//;
const registryHost = /\bregistry\.(npmjs\.org|npmjs\.com|yarnpkg\.com|npmmirror\.com)\b/;

/** @returns the violations of one text file */
export function checkText(path, text) {
  const found = [];
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  if (lines.length > linesMax(path)) {
    const message = `${lines.length} lines, ${linesMax(path)} are allowed`;
    found.push({ path, line: lines.length, rule: "file-length", message });
  }
  for (const [index, text] of lines.entries()) {
    for (const problem of checkLine(path, text)) found.push({ path, line: index + 1, ...problem });
  }
  return found;
}

function checkLine(path, line) {
  const found = [];
  const counted = codeLike.test(path) && !generated.test(path);
  if (counted && line.length > columnsMax && !line.includes("://")) {
    const message = `${line.length} columns, ${columnsMax} are allowed`;
    found.push({ rule: "line-length", message });
  }
  if (machineText.test(path)) return found;
  const folder = machinePath.exec(line);
  if (folder && !(folder[1] === "tmp" && temporaryFilesAllowed.test(path))) {
    found.push({ rule: "machine-path", message: `${folder[0]} exists on one machine only` });
  }
  const host = registryHost.exec(line);
  if (host) found.push({ rule: "registry", message: `${host[0]}: say "the npm registry"` });
  return found;
}

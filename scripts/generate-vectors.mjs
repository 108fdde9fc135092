// Writes protocol/vectors/*.json: frames of the wire contract as hexadecimal text beside what they
// mean, for every implementation to test itself against. The encoder is in this file and uses none
// of ours, so that a mistake in src/wire shows. --check reports files that have drifted.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { clientVectors } from "./vectors/client.mjs";
import { invalidVectors } from "./vectors/invalid.mjs";
import { serverVectors } from "./vectors/server.mjs";
import { streamVectors } from "./vectors/streams.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = "protocol/vectors";

const files = {
  "client.json": {
    description: "Single messages of clients. A server reads each as `messages` says.",
    vectors: clientVectors,
  },
  "server.json": {
    description: "Single messages of servers. A client reads each as `messages` says.",
    vectors: serverVectors,
  },
  "streams.json": {
    description: "Several frames after each other, to be read in order however they are split.",
    vectors: streamVectors,
  },
  "invalid.json": {
    description: "What a client must not send, and the close code that a server answers with.",
    vectors: invalidVectors,
  },
};

const names = Object.values(files).flatMap(({ vectors }) => vectors.map(({ name }) => name));
const repeated = names.find((name, index) => names.indexOf(name) !== index);
if (repeated !== undefined) throw new Error(`two vectors are called ${repeated}`);

const check = process.argv.includes("--check");
let drifted = false;
for (const [name, content] of Object.entries(files)) {
  const path = join(root, folder, name);
  const text = `${JSON.stringify(content, null, 2)}\n`;
  if (existsSync(path) && readFileSync(path, "utf8") === text) continue;
  if (check) {
    console.error(`generate-vectors: ${folder}/${name} has drifted: run npm run generate`);
    drifted = true;
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    console.log(`wrote ${folder}/${name}`);
  }
}
process.exitCode = drifted ? 1 : 0;

// Reads Prometheus's text format strictly: whatever a scraper would stumble over throws.

export interface PrometheusSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface PrometheusText {
  readonly types: ReadonlyMap<string, string>;
  readonly helps: ReadonlyMap<string, string>;
  readonly samples: readonly PrometheusSample[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`);
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/y;

export function readPrometheus(text: string): PrometheusText {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const types = new Map<string, string>();
  const helps = new Map<string, string>();
  const samples: PrometheusSample[] = [];
  const seen = new Set<string>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, keyword, name, rest] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword !== undefined) {
      const facts = keyword === "HELP" ? helps : types;
      if (facts.has(name!)) throw new Error(`${keyword} of ${name} is given twice`);
      facts.set(name!, rest!);
      continue;
    }
    const sample = readSample(line);
    const key = JSON.stringify([sample.name, Object.entries(sample.labels).sort()]);
    if (seen.has(key)) throw new Error(`given twice: ${key}`);
    seen.add(key);
    samples.push(sample);
  }
  return { types, helps, samples };
}

/** The metric that a sample belongs to, by the suffixes of histograms. */
export function metricOf({ types }: PrometheusText, name: string): string {
  const base = name.replace(/_(bucket|sum|count)$/, "");
  return types.get(base) === "histogram" ? base : name;
}

function readSample(line: string): PrometheusSample {
  const [, name, labelText = "", valueText] = SAMPLE.exec(line) ?? [];
  if (name === undefined) throw new Error(`no sample: ${line}`);
  const value = Number(valueText === "+Inf" ? Number.POSITIVE_INFINITY : valueText);
  if (Number.isNaN(value)) throw new Error(`no number: ${line}`);
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < labelText.length) {
    const at = LABEL.lastIndex;
    const [, key, raw] = LABEL.exec(labelText) ?? [];
    if (key === undefined) throw new Error(`no label at ${at}: ${line}`);
    if (key in labels) throw new Error(`label ${key} twice: ${line}`);
    labels[key] = raw!.replace(/\\(.)/g, (_all, char: string) => (char === "n" ? "\n" : char));
  }
  return { name, labels, value };
}

// The query of an admin request: known keys only, each once, each within its range.

export interface QueryKey<T> {
  /** What may stand there, for people. */
  readonly allowed: string;
  readonly default: T;
  /** Undefined: it may not stand there. */
  parse(text: string): T | undefined;
}

export type QueryKeys = Readonly<Record<string, QueryKey<unknown>>>;
export type QueryValues<Keys extends QueryKeys> = {
  readonly [K in keyof Keys]: Keys[K] extends QueryKey<infer T> ? T : never;
};

/** A request that cannot be answered, told to whoever made it. */
export class BadQuery extends Error {
  override readonly name: string = "BadQuery";
  readonly key: string;
  readonly value: string;
  readonly allowed: string;

  constructor(key: string, value: string, allowed: string, problem: string) {
    super(problem);
    this.key = key;
    this.value = value;
    this.allowed = allowed;
  }
}

export function integerKey<D extends number | null>(
  min: number,
  max: number,
  byDefault: D,
): QueryKey<number | D> {
  return {
    allowed: `an integer from ${min} to ${max}`,
    default: byDefault,
    parse: (text) => {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      return value >= min && value <= max ? value : undefined;
    },
  };
}

export function choiceKey<T extends string, D extends T | null>(
  choices: readonly T[],
  byDefault: D,
): QueryKey<T | D> {
  return {
    allowed: `one of ${choices.join(", ")}`,
    default: byDefault,
    parse: (text) => choices.find((choice) => choice === text),
  };
}

/** The values that `search` ("a=1&b=2") gives, or the defaults. Throws {@link BadQuery}. */
export function readQuery<Keys extends QueryKeys>(search: string, keys: Keys): QueryValues<Keys> {
  const values: Record<string, unknown> = {};
  for (const [key, { default: byDefault }] of Object.entries(keys)) values[key] = byDefault;
  const given = new Set<string>();
  for (const [key, text] of new URLSearchParams(search)) {
    if (!Object.hasOwn(keys, key)) {
      const known = Object.keys(keys);
      const allowed = known.length === 0 ? "no keys" : `the keys ${known.join(", ")}`;
      throw new BadQuery(key, text, allowed, `unknown key ${JSON.stringify(key)}`);
    }
    const row = keys[key]!;
    const { allowed } = row;
    if (given.has(key)) throw new BadQuery(key, text, allowed, `${key} is given more than once`);
    given.add(key);
    const value = row.parse(text);
    if (value === undefined) {
      const problem = `${key} is ${JSON.stringify(text)}; allowed is ${allowed}`;
      throw new BadQuery(key, text, allowed, problem);
    }
    values[key] = value;
  }
  return values as QueryValues<Keys>;
}

// Holds documents against the JSON Schemas that describe them.

import type { JsonSchema } from "../../src/probe/json-schema.ts";

/** Follows references; a value that may be null is described by the other alternative. */
function resolved(schema: JsonSchema, root: JsonSchema): JsonSchema {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.replace("#/$defs/", "");
    const found = root.$defs?.[name];
    if (found === undefined) throw new Error(`${schema.$ref} leads nowhere`);
    return found;
  }
  const other = schema.anyOf?.find(({ type }) => type !== "null");
  return other === undefined ? schema : resolved(other, root);
}

function isNullable(schema: JsonSchema): boolean {
  if (Array.isArray(schema.type)) return schema.type.includes("null");
  return schema.anyOf?.some(({ type }) => type === "null") ?? false;
}

function hasType(value: unknown, type: string): boolean {
  if (type === "integer") return Number.isInteger(value);
  if (type === "array") return Array.isArray(value);
  return typeof value === type;
}

/** Walks a document along its schema: says what does not fit, and which properties it has met. */
export class SchemaWalk {
  readonly problems: string[] = [];
  readonly met: Set<JsonSchema> = new Set();
  readonly #root: JsonSchema;

  constructor(root: JsonSchema) {
    this.#root = root;
  }

  walked(document: unknown, name: string): this {
    this.#visit(document, this.#root, name);
    return this;
  }

  #visit(value: unknown, schema: JsonSchema, path: string): void {
    this.met.add(schema);
    if (value === null) {
      if (!isNullable(schema)) this.problems.push(`${path} is null`);
      return;
    }
    const inner = resolved(schema, this.#root);
    this.met.add(inner);
    this.#scalar(value, inner, path);
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) {
        this.#visit(item, inner.items ?? {}, `${path}[${index}]`);
      }
    } else if (typeof value === "object") {
      this.#object(value as Record<string, unknown>, inner, path);
    }
  }

  #scalar(value: unknown, schema: JsonSchema, path: string): void {
    const types = [schema.type ?? []].flat().filter((type) => type !== "null");
    if (!types.some((type) => hasType(value, type))) {
      this.problems.push(`${path} is no ${types.join(" or ")}: ${String(value)}`);
    }
    const { minimum = -Infinity, maximum = Infinity } = schema;
    if (typeof value === "number" && !(value >= minimum && value <= maximum)) {
      this.problems.push(`${path} is out of range: ${value}`);
    }
    if (schema.enum !== undefined && !schema.enum.includes(value as string)) {
      this.problems.push(`${path} is none of ${schema.enum.join()}: ${String(value)}`);
    }
    if (schema.const !== undefined && schema.const !== value) this.problems.push(`${path} differs`);
  }

  #object(value: Record<string, unknown>, schema: JsonSchema, path: string): void {
    for (const name of schema.required ?? []) {
      if (!(name in value)) this.problems.push(`${path}.${name} is missing`);
    }
    for (const [name, property] of Object.entries(value)) {
      const known = schema.properties?.[name] ?? schema.additionalProperties;
      if (typeof known === "object") this.#visit(property, known, `${path}.${name}`);
      else this.problems.push(`${path}.${name} is not in the schema`);
    }
  }
}

/** Every property of a document and of its parts, by its path. */
export function allProperties(root: JsonSchema, name: string): [string, JsonSchema][] {
  const parts = Object.entries(root.$defs ?? {});
  return [[name, root] as const, ...parts].flatMap(([path, schema]) => properties(schema, path));
}

function properties(schema: JsonSchema, path: string): [string, JsonSchema][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const inner = property.anyOf?.[0] ?? property.items ?? property;
    return [[`${path}.${name}`, property] as [string, JsonSchema]].concat(
      inner.$ref === undefined ? properties(inner, `${path}.${name}`) : [],
    );
  });
}

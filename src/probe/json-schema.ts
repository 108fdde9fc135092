// JSON Schemas of the probe's documents are put together from these: each says what it is about.

/** As much of JSON Schema, draft 2020-12, as is used here. */
export interface JsonSchema {
  readonly $schema?: string;
  readonly $id?: string;
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, JsonSchema>>;
  readonly title?: string;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly const?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly JsonSchema[];
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
}

export const text = (description: string): JsonSchema => ({ type: "string", description });
export const oneOf = (values: readonly string[], description: string): JsonSchema => ({
  type: "string",
  enum: values,
  description,
});
export const number = (description: string): JsonSchema => ({
  type: "number",
  minimum: 0,
  description,
});
export const count = (description: string): JsonSchema => ({
  type: "integer",
  minimum: 0,
  description,
});
export const share = (description: string): JsonSchema => ({ ...number(description), maximum: 1 });
export const flag = (description: string): JsonSchema => ({ type: "boolean", description });
export const list = (items: JsonSchema, description: string): JsonSchema => ({
  type: "array",
  items,
  description,
});
export const reference = (name: string, description: string): JsonSchema => ({
  $ref: `#/$defs/${name}`,
  description,
});

export function orNull(schema: JsonSchema): JsonSchema {
  const { description, ...rest } = schema;
  const about = description === undefined ? {} : { description };
  if (typeof rest.type === "string") return { ...rest, type: [rest.type, "null"], ...about };
  return { anyOf: [rest, { type: "null" }], ...about };
}

/** Every property is there, unless it is named as optional. */
export function object(
  description: string,
  properties: Readonly<Record<string, JsonSchema>>,
  optional: readonly string[] = [],
): JsonSchema {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: "object", description, properties, required, additionalProperties: true };
}

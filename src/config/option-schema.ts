// The option table as a zod schema: checks values, fills in defaults, and gives the JSON Schema for
// editors. Relations between options are in option-relations.ts; a schema cannot say them.
import { z } from "zod";
import { nullText, type OptionRow, RELOAD_MEANS } from "./option-row.ts";
import { OPTION_AREAS, OPTION_PATHS, OPTION_TABLE } from "./option-table.ts";
import type { OptionArea, OptionPath, Options } from "./options.ts";

// Control characters have no place in addresses, paths and names, and would garble the log.
const PRINTABLE = /^\P{Cc}*$/u;

const schemas: ReadonlyMap<OptionPath, z.ZodType> = new Map(
  OPTION_PATHS.map((path) => [path, rowSchema(OPTION_TABLE[path])]),
);

const optionsSchema: z.ZodType = z.strictObject(
  Object.fromEntries(
    (Object.keys(OPTION_AREAS) as OptionArea[]).map((area) => [area, areaSchema(area)]),
  ),
);

function rowSchema(row: OptionRow): z.ZodType {
  const schema = row.nullable ? nullableSchema(row) : valueSchema(row);
  const unit = row.unit === "" ? "" : ` Unit: ${row.unit}.`;
  const means = row.nullable ? ` ${nullText(row)}: ${row.nullMeans}.` : "";
  const reload = `A new value counts ${RELOAD_MEANS[row.reload]}.`;
  return schema.prefault(row.default).describe(`${row.doc}${unit}${means} ${reload}`);
}

function nullableSchema(row: OptionRow): z.ZodType {
  const schema = valueSchema(row);
  if (row.nullName === "") return schema.nullable();
  return z.union([schema, z.null(), z.literal(row.nullName).transform(() => null)]);
}

function valueSchema(row: OptionRow): z.ZodType {
  switch (row.type) {
    case "integer":
      return z.int().min(row.min).max(row.max);
    case "number":
      return z.number().min(row.min).max(row.max);
    case "boolean":
      return z.boolean();
    case "text":
      return z.string().min(row.min).max(row.max).regex(PRINTABLE);
    case "choice":
      return z.enum(row.choices as [string, ...string[]]);
    case "list":
      return z.array(z.string().min(1).max(255).regex(PRINTABLE)).min(row.min).max(row.max);
  }
}

function areaSchema(area: OptionArea): z.ZodType {
  const rows = [...schemas].filter(([path]) => path.startsWith(`${area}.`));
  const shape = Object.fromEntries(
    rows.map(([path, schema]) => [path.slice(area.length + 1), schema]),
  );
  return z.strictObject(shape).prefault({}).describe(`${OPTION_AREAS[area]}.`);
}

/** Whether `value` may be given for `path`. Relations to other options are not looked at. */
export function isAllowed(path: OptionPath, value: unknown): boolean {
  // A schema with a default takes undefined; a source never has it to give.
  return value !== undefined && schemas.get(path)?.safeParse(value).success === true;
}

/** Fills in what `partial` leaves out. Each of its values must be allowed. */
export function complete(partial: ReadonlyMap<OptionPath, unknown>): Options {
  const areas: Record<string, Record<string, unknown>> = {};
  for (const [path, value] of partial) {
    const [area = "", name = ""] = path.split(".");
    areas[area] = { ...areas[area], [name]: value };
  }
  // The compiler checks the table against Options, and the schema is made of the table.
  return optionsSchema.parse(areas) as Options;
}

/** The JSON Schema of a configuration file, in the draft that editors know. */
export function optionsJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(optionsSchema, { io: "input", target: "draft-7" });
  return {
    $schema,
    title: "Holdfast options",
    description: "The configuration file of a Holdfast server.",
    ...rest,
  };
}

// The catalogue as the pages need it: entries by section, where kinds stand in others, what a spec has by default.
import { isObject, own, same } from "./json.js";

const PARTS = "parts";

/** Entries {section, kind, description, example, schema, ...} of every section; what has no kind is in `parts`, by its path. */
export function entriesOf(catalog) {
  const { experiment, sweep, parts, kinds } = catalog;
  const whole = { description: sweep.schema.description, example: Object.values(sweep.examples)[0], schema: sweep.schema };
  const named = Object.entries({ experiment, sweep: whole, ...parts }).map(([kind, entry]) => ({ ...entry, kind }));
  return Object.entries({ ...kinds, [PARTS]: named }).flatMap(([section, entries]) => entries.map((entry) => ({ ...entry, section })));
}

export const titleOf = (section) => (section === PARTS ? "parts of an experiment" : section);

/** A node of a schema, or what it refers to. */
const resolved = (node, schema) => (node.$ref ? schema.$defs[node.$ref.split("/").at(-1)] : node);

/** The entry that a definition inside another's schema is of, if the catalogue has it. */
export function entryOf(definition, entries) {
  const fields = JSON.stringify(definition.properties);
  return entries.find(({ schema }) => JSON.stringify(schema.properties) === fields);
}

/** The objects that may stand at a node: [name, definition]. */
function objectsAt(node, schema) {
  const whole = resolved(node, schema);
  if (whole.anyOf) return whole.anyOf.flatMap((option) => objectsAt(option, schema));
  if (whole.discriminator?.mapping) return Object.entries(whole.discriminator.mapping).map(([kind, reference]) => [kind, resolved({ $ref: reference }, schema)]);
  return whole.properties ? [[whole.properties.kind?.const ?? whole.title, whole]] : [];
}

/** What a field may be, in words: `from 1 to 100`, `auto | none`; objects by their kinds. */
function allowed(node, schema) {
  const whole = resolved(node, schema);
  if (whole.anyOf) return whole.anyOf.filter(({ type }) => type !== "null").map((option) => allowed(option, schema)).join(" | ");
  const objects = objectsAt(whole, schema);
  if (objects.length) return objects.map(([kind]) => kind).join(" | ");
  if (whole.enum || "const" in whole) return (whole.enum ?? [whole.const]).join(" | ");
  if (whole.type === "integer" || whole.type === "number") return bounds(whole);
  if (whole.type === "array") return `list of ${allowed(whole.items ?? {}, schema)}`;
  return { boolean: "true | false", string: "text" }[whole.type] ?? "object";
}

const ENDS = { minimum: "from", exclusiveMinimum: "above", maximum: "to", exclusiveMaximum: "below" };

const bounds = (node) => Object.keys(ENDS).filter((end) => end in node).map((end) => `${ENDS[end]} ${node[end]}`).join(" ") || "a number";

/** What a field is where a spec does not have it: `default 5`, `required`, `optional`. */
function byDefault(name, node, { schema, example }) {
  if (schema.required?.includes(name)) return "required";
  const value = node.default ?? example[name] ?? null;
  if (value === null) return "optional";
  const text = isObject(value) ? (value.kind ?? "{}") : typeof value === "string" ? value : JSON.stringify(value);
  return `default ${text}`;
}

/** The fields of an entry {name, allowed, byDefault, description, objects}, but for its kind. */
export function fieldsOf(entry) {
  const { schema } = entry;
  return Object.entries(schema.properties).filter(([name]) => name !== "kind").map(([name, node]) => ({
    name,
    allowed: allowed(node, schema),
    byDefault: byDefault(name, node, entry),
    description: paragraphs(node.description ?? resolved(node, schema).description ?? "")[0],
    objects: objectsAt(node, schema),
  }));
}

/** The fields {owner, name} in which a kind may stand. */
export function placesOf(entry, entries) {
  const holds = ({ objects }) => objects.some(([, definition]) => entryOf(definition, entries) === entry);
  return entries.flatMap((owner) => fieldsOf(owner).filter(holds).map(({ name }) => ({ owner, name })));
}

/** A spec with a kind that is a problem or stands in one; of others the schema does not say with which problems they can be: null. */
export function specWith(entry, entries) {
  if (entry.section === "problem") return { problem: entry.example };
  const place = entry.missing ? undefined : placesOf(entry, entries).find(({ owner }) => owner.section === "problem");
  return place ? { problem: { kind: place.owner.kind, [place.name]: entry.example } } : null;
}

/** Whether a spec is meant to be a sweep, by the fields that it has. */
export const isSweep = (has) => ["base", "grid", "seeds"].some(has);

/** The innermost entry at a pointer into a spec, and the field of it that the pointer leads into: {entry, field}. */
export function explained(spec, pointer, entries) {
  const part = (kind) => entries.find((entry) => entry.section === PARTS && entry.kind === kind);
  let entry = part(isObject(spec) && isSweep((name) => Object.hasOwn(spec, name)) ? "sweep" : "experiment"), value = spec, field;
  for (const name of pointer.split("/").slice(1)) {
    const node = own(entry.schema.properties, name);
    value = own(value, name);
    field = node && fieldsOf(entry).find((each) => each.name === name);
    const objects = field && isObject(value) ? field.objects : [];
    const fits = ([kind]) => (value.kind === undefined ? field.byDefault === `default ${kind}` : kind === value.kind);
    const fitting = objects.length > 1 ? objects.filter(fits) : objects;
    const inside = fitting.length && entryOf(fitting[0][1], entries);
    if (!inside) break;
    [entry, field] = [inside, undefined];
  }
  return { entry, field };
}

/** The paragraphs of a description, each in one line. */
export const paragraphs = (text) => text.split("\n\n").map((each) => each.split(/\s+/).filter(Boolean).join(" "));

/** The stored spec of an experiment less what it has by default; an object whose defaults are not known stays whole. */
export function withoutDefaults(spec, catalog) {
  const entries = entriesOf(catalog);
  const defaultsOf = (value) => entries.find(({ kind, example }) => kind === value.kind && same(Object.keys(example).sort(), Object.keys(value).sort()))?.example;
  const less = (value, defaults) => {
    if (!isObject(value) || !isObject(defaults)) return value;
    const kept = { ...(value.kind !== undefined && { kind: value.kind }) };
    for (const name of new Set([...Object.keys(defaults), ...Object.keys(value)])) {
      const each = own(value, name);
      if (name === "kind" || each === undefined || same(each, own(defaults, name))) continue;
      kept[name] = less(each, each?.kind === undefined ? own(defaults, name) : defaultsOf(each));
    }
    return kept;
  };
  const { example } = catalog.experiment;
  return less(spec, { ...example, problem: { kind: null } });
}

// Values of JSON: whether they are the same, and how they are written.

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** A field of an object; undefined where it has none of its own, whatever it is called. */
export const own = (object, name) => (object !== undefined && object !== null && Object.hasOwn(object, name) ? object[name] : undefined);

/** Whether two values are equal, whatever the order of their fields. */
export function same(a, b) {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  const names = Object.keys(a);
  return Array.isArray(a) === Array.isArray(b) && names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && same(a[name], b[name]));
}

const WIDTH = 72; // characters of an object or list that stands in one line

/** With a line for each field but for what is short. */
export function pretty(value, indent = "") {
  const line = JSON.stringify(value, null, 1).replace(/([[{])\n\s*/g, "$1").replace(/\n\s*([\]}])/g, "$1").replace(/\n\s*/g, " ");
  if (typeof value !== "object" || value === null || (indent && indent.length + line.length <= WIDTH)) return line;
  const inner = `${indent}  `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const named = ([name, each]) => `${JSON.stringify(name)}: ${pretty(each, inner)}`;
  const parts = Array.isArray(value) ? value.map((each) => pretty(each, inner)) : Object.entries(value).map(named);
  return parts.length ? `${open}\n${parts.map((part) => inner + part).join(",\n")}\n${indent}${close}` : open + close;
}

/** A value with fields set by their paths, such as algorithm.steps. */
export function changed(value, fields) {
  const copy = structuredClone(value);
  for (const [path, field] of Object.entries(fields)) {
    const names = path.split(".");
    const last = names.pop();
    const owner = names.reduce((part, name) => (part[name] = isObject(part[name]) ? part[name] : {}), copy);
    owner[last] = field;
  }
  return copy;
}

// Experiments side by side: where their specs differ, what tells them apart; as in `bilevel compare`.
import { setting } from "./format.js";
import { isObject, own, same } from "./json.js";

/** Field -> its value in each spec, where they are not all the same; undefined where a spec has no such field.
 *
 * Objects of different kinds are taken as wholes, and those of one kind field by field. Names are not compared.
 */
export function differences(specs) {
  const found = new Map();
  const gather = (values, path) => {
    const [first] = values.values();
    if ([...values.values()].every((value) => same(value, first))) return;
    const groups = new Map();
    for (const [place, value] of values) {
      const kind = isObject(value) ? (value.kind ?? null) : WHOLE;
      groups.set(kind, (groups.get(kind) ?? new Map()).set(place, value));
    }
    if (groups.size > 1 || groups.has(WHOLE)) {
      const row = found.get(path) ?? found.set(path, specs.map(() => undefined)).get(path);
      for (const [place, value] of values) row[place] = value;
    }
    groups.delete(WHOLE);
    for (const group of groups.values()) {
      const fields = new Set([...group.values()].flatMap(Object.keys));
      for (const name of fields) gather(new Map([...group].map(([place, value]) => [place, own(value, name)])), path ? `${path}.${name}` : name);
    }
  };
  gather(new Map(specs.map((spec, place) => [place, { ...spec, name: null }])), "");
  return found;
}

const WHOLE = Symbol("no object");
/** A value that differs: an object by its kind alone, whose fields differ in rows of their own. */
export const brief = (value) => (isObject(value) && "kind" in value ? value.kind : setting(value));

/** Path -> the shortest ending that no other path has. */
export function shortNames(paths) {
  const shortest = (path) => {
    const parts = path.split(".");
    const endings = parts.map((_, place) => parts.slice(parts.length - 1 - place).join("."));
    return endings.find((end) => !paths.some((other) => other !== path && `.${other}`.endsWith(`.${end}`))) ?? path;
  };
  return new Map(paths.map((path) => [path, shortest(path)]));
}

/** What tells experiments apart in a picture: what their names do not share and, where that is not enough, where their
 * specs differ; the beginning of the id where these are the same, too. */
export function namesApart(records) {
  const names = records.map(ownName);
  const columns = [withoutCommon(names)];
  if (new Set(names).size < names.length) {
    const differing = differences(records.map(({ spec }) => spec));
    const seeds = differing.get("seed");
    if (differing.delete("seed")) differing.set("seed", seeds); // the last, as in names of members
    for (const [path, name] of shortNames([...differing.keys()])) {
      columns.push(differing.get(path).map((value) => (value === undefined || value === null ? "" : `${name}=${brief(value)}`)));
    }
  }
  const found = records.map((_, place) => columns.map((column) => column[place]).filter(Boolean).join(", "));
  return found.map((name, place) => (found.filter((other) => other === name).length === 1 ? name : `${name} (${records[place].id.slice(0, 8)})`.trimStart()));
}

/** Without what a member of a sweep has in brackets, which is among the differences. */
export const ownName = ({ name, sweep }) => (sweep ? name.split(" [")[0] : name);

/** Names without the words that all begin and end with; empty where nothing is left of all. */
export function withoutCommon(names) {
  const words = names.map((name) => name.split(/\s+/).filter(Boolean));
  const begin = shared(words);
  const end = shared(words.map((each) => each.slice(begin).reverse()));
  const left = words.map((each) => each.slice(begin, each.length - end));
  const some = left.filter((each) => each.length).length;
  return (some === 0 || some === left.length ? left : words).map((each) => each.join(" "));
}

/** How many words all begin with. */
function shared(words) {
  let count = 0;
  while (words.length && words.every((each) => count < each.length && each[count] === words[0][count])) count += 1;
  return count;
}

/** Metrics on validation and on test data of the chosen outer variables: [set, name, its {mean, ci95} in each result]. */
export function reached(results) {
  const of = (found, set) => (set === "validation" ? found?.best : found)?.[set] ?? {};
  return ["validation", "test"].flatMap((set) => {
    const names = new Set(results.flatMap((found) => Object.keys(of(found, set))));
    return [...names].sort().map((name) => [set, name, results.map((found) => own(of(found, set), name))]);
  });
}

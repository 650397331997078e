// The curves of an experiment, read once and then by what has been added.
import { plain } from "./format.js";
import { get } from "./service.js";

const POINTS = 1000; // of a series, at most, in one answer: the service keeps the lowest, the highest and the last of each stretch
const MOST = 3 * POINTS; // points of a series from which on it is read anew, thinned

export class Curves {
  #id;
  #after = -1;
  #attempt = null;

  constructor(id) {
    this.#id = id;
    /** Name -> {step, value, attempt}; attempt is null where there was one attempt. */
    this.series = new Map();
  }

  /** Adds what has come since the last time; where another attempt goes on, or there are many points, reads the whole anew. */
  async read(record, signal, anew = record.attempt !== this.#attempt || this.#long()) {
    const found = await get(`experiments/${encodeURIComponent(this.#id)}/curves`, { after: anew ? -1 : this.#after, max_points: POINTS }, { signal });
    const added = Object.entries(found.series).filter(([, { step }]) => step.length);
    const another = ([name, { attempt }]) => attempt && this.series.has(name) && !this.series.get(name).attempt;
    if (!anew && added.some(another)) return this.read(record, signal, true); // of which the record does not tell yet
    this.series = anew ? new Map() : new Map(this.series);
    this.#attempt = record.attempt;
    this.#after = found.next;
    for (const [name, each] of added) this.series.set(name, extended(this.series.get(name), columns(each)));
    return undefined;
  }

  #long() {
    return [...this.series.values()].some(({ step }) => step.length > MOST);
  }
}

/** A series of an answer, its values as numbers. */
export const columns = ({ step, value, attempt }) => ({ step, value: value.map(plain), attempt: attempt ?? null });

/** A series with the points that came later, of which the first may be there already. */
function extended(before, added) {
  if (!before) return added;
  let kept = before.step.length;
  while (kept && before.step[kept - 1] >= added.step[0]) kept -= 1;
  const join = (name) => [...before[name].slice(0, kept), ...added[name]];
  return { step: join("step"), value: join("value"), attempt: added.attempt && join("attempt") };
}

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
    /** Name -> {step, value, attempt}; attempt is null where one attempt made all points. */
    this.series = new Map();
  }

  /** Adds what has come since the last time; where another attempt goes on, or there are many points, reads the whole anew. */
  async read(record, signal) {
    const anew = record.attempt !== this.#attempt || [...this.series.values()].some((each) => each.step.length > MOST);
    const found = await get(`experiments/${this.#id}/curves`, { after: anew ? -1 : this.#after, max_points: POINTS }, { signal });
    this.series = anew ? new Map() : new Map(this.series);
    this.#attempt = record.attempt;
    this.#after = found.next;
    for (const [name, added] of Object.entries(found.series)) {
      if (added.step.length) this.series.set(name, extended(this.series.get(name), columns(added)));
    }
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
  const last = before.attempt?.at(-1);
  return {
    step: join("step"),
    value: join("value"),
    attempt: before.attempt && [...before.attempt.slice(0, kept), ...(added.attempt ?? added.step.map(() => last))],
  };
}

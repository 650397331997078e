// Cells of a sweep as lines: a series over hyperiterations, the validation metric over a parameter; as in `bilevel sweeps plot`.
import { useReducer, useRef, useState } from "preact/hooks";
import { COLOURS, looks, spansDecades } from "./chart.js";
import { shortNames } from "./comparing.js";
import { columns } from "./curves.js";
import { plain, setting } from "./format.js";
import { same } from "./json.js";
import { repeatedly, useWhileSeen } from "./live.js";
import { get } from "./service.js";

const AT_ONCE = 4; // requests
const POINTS = 10_000; // of a series, at most
const TOLD = 300; // milliseconds between two drawings while curves are read

/** A series of experiments that have succeeded, each read once: {curves: id -> series, error}. */
export function useSeries(name, ids) {
  const read = useRef(new Map());
  const [error, fail] = useState(null);
  const [, draw] = useReducer((count) => count + 1, 0);
  const key = (id) => `${id} ${name}`;
  const wanted = [name, ids.join()];
  useWhileSeen((signal) => {
    const look = async () => {
      const queue = ids.filter((id) => !read.current.has(key(id)));
      let told = Date.now();
      const work = async () => {
        for (let id = queue.shift(); id; id = queue.shift()) {
          const { series } = await get(`experiments/${id}/curves`, { series: name, max_points: POINTS }, { signal });
          read.current.set(key(id), Object.hasOwn(series, name) ? columns(series[name]) : null);
          if (Date.now() - told < TOLD) continue;
          told = Date.now();
          draw();
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      draw();
      return false;
    };
    return repeatedly(look, fail, signal);
  }, wanted);
  return { curves: new Map(ids.map((id) => [id, read.current.get(key(id))]).filter(([, series]) => series)), error };
}

/** Mean, least and greatest over seeds at the hyperiterations that all of them have. */
function overSeeds(curves) {
  const at = curves.map(({ step, value }) => new Map(step.map((each, place) => [each, value[place]])));
  const step = curves[0].step.filter((each) => at.every((own) => own.has(each)));
  const values = step.map((each) => at.map((own) => own.get(each)));
  const of = (measure) => values.map(measure);
  const mean = of((each) => each.reduce((sum, value) => sum + value, 0) / each.length);
  return { step, value: mean, ...(curves.length > 1 && { low: of((each) => Math.min(...each)), high: of((each) => Math.max(...each)) }) };
}

/** A line a cell: {label, colour, dashes, step, value, low?, high?}; `ids` has the experiments of each cell that are drawn. Many have no bands. */
export function cellLines(cells, ids, curves) {
  const names = cellNames(cells);
  const lines = cells.flatMap((cell, place) => {
    const own = ids[place].map((id) => curves.get(id)).filter(Boolean);
    const some = own.length === cell.seeds ? "" : ` (${own.length} of ${cell.seeds} seeds)`;
    return own.length ? [{ ...overSeeds(own), label: names[place] + some, ...looks(place) }] : [];
  });
  return lines.length <= COLOURS ? lines : lines.map(({ low, high, ...line }) => line);
}

/** Cells by the parameters in which they differ. */
function cellNames(cells) {
  const differing = Object.keys(cells[0].parameters).filter((path) => cells.some(({ parameters }) => !same(parameters[path], cells[0].parameters[path])));
  return cells.map(({ parameters }) => named(parameters, differing) || "all seeds");
}

const named = (parameters, paths) => [...shortNames(paths)].map(([path, name]) => `${name}=${setting(parameters[path])}`).join(", ");

/**
 * The validation metric over the parameter of numbers that has the most values in a grid, a line for each combination
 * of the others: {metric, lines, along}, or null. Only cells of which every seed has succeeded, so that no cell gains by those that have not.
 */
export function overParameter(cells) {
  const chosen = cells.filter(({ validation, seeds, succeeded }) => validation && seeds === succeeded);
  const values = (path) => [...new Set(cells.map(({ parameters }) => parameters[path]))];
  const paths = Object.keys(cells[0].parameters);
  const numeric = paths.filter((each) => values(each).length > 1 && values(each).every(Number.isFinite));
  if (!numeric.length || new Set(chosen.map(({ metric }) => metric)).size !== 1) return null;
  const path = numeric.reduce((best, each) => (values(each).length > values(best).length ? each : best));
  const others = paths.filter((each) => each !== path && new Set(chosen.map(({ parameters }) => JSON.stringify(parameters[each]))).size > 1);
  const groups = new Map();
  for (const cell of chosen) {
    const name = named(cell.parameters, others);
    groups.set(name, [...(groups.get(name) ?? []), cell]);
  }
  if (groups.size > COLOURS) return null;
  const lines = [...groups].map(([label, group], place) => ({ label, colour: place, dashes: 0, ...deviating(path, group) }));
  return { metric: chosen[0].metric, lines, along: { name: shortNames(paths).get(path), logarithmic: spansDecades(values(path)) } };
}

function deviating(path, group) {
  const inOrder = [...group].sort((a, b) => a.parameters[path] - b.parameters[path]);
  const of = (measure) => inOrder.map(({ parameters, validation: { mean, deviation } }) => measure(plain(mean), deviation === null ? 0 : plain(deviation), parameters));
  const deviates = inOrder.some(({ validation }) => validation.deviation !== null);
  const band = deviates && { low: of((mean, deviation) => mean - deviation), high: of((mean, deviation) => mean + deviation) };
  return { step: of((mean, deviation, parameters) => parameters[path]), value: of((mean) => mean), ...band };
}

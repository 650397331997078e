// What pages say about sweeps: states of members, parameters, scores; as `bilevel sweeps show` does.
import { shortNames } from "./comparing.js";
import { around, plain, setting, words } from "./format.js";
import { html } from "./html.js";
import { Bar } from "./parts.js";

/** How many members are in which state. */
export function States({ counts }) {
  const present = Object.entries(counts).filter(([, count]) => count);
  return html`<span class="states">${present.map(([status, count]) => html`<span class=${`status ${status}`}>${count} ${status}</span> `)}</span>`;
}

/** A bar over the hyperiterations of all members. */
export function SweepProgress({ record }) {
  const { counts, ended, progress } = record;
  const state = ended ? ["failed", "cancelled"].find((status) => counts[status]) ?? "succeeded" : "running";
  return html`<${Bar} progress=${progress} state=${state} runs=${counts.running > 0} />`;
}

/** Parameters by their short names: steps=4, hypergradient=reverse. */
export const parametersOf = (parameters) =>
  [...shortNames(Object.keys(parameters))].map(([path, name]) => `${name}=${setting(parameters[path])}`).join(", ");

/** How the validation metric is called: by the title where all have the same, else by each value. */
export function chosenBy(scores) {
  const metrics = new Set(scores.map(({ metric }) => metric));
  const one = metrics.size === 1;
  return { title: one ? `validation ${words([...metrics][0])}` : "validation", text: (metric, value) => (one ? value : `${words(metric)} ${value}`) };
}

/** Metrics on test data by name, those of the choice first. */
export function testMetrics(scores) {
  const chosen = new Set(scores.map(({ metric }) => metric));
  const names = [...new Set(scores.flatMap(({ test }) => Object.keys(test)))].sort();
  return [...names.filter((name) => chosen.has(name)), ...names.filter((name) => !chosen.has(name))];
}

/** A metric {mean, deviation} over seeds. */
export const spread = (name, found) => (found ? around(name, found.mean, found.deviation) : "");

/** What a table is sorted by: numbers as such, everything else by its text; what is not there comes last. */
export const sortable = (value) => (typeof value === "number" || value === null || value === undefined ? plain(value) : typeof value === "string" ? value : setting(value));

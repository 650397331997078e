// What an experiment or a sweep would cost, as the service plans it; as `bilevel plan` shows it.
import { Assumptions } from "./assumptions.js";
import { shortNames } from "./comparing.js";
import { duration, number, setting, words } from "./format.js";
import { html } from "./html.js";
import { Folded, Text } from "./parts.js";

const SIZES = ["outer_variables", "inner_variables", "inner_steps", "hyperiterations"];

/** The plan of an experiment, {verdict, memory, time, ways, ...}, or of a sweep, which has cells; `use(set)` takes a way. */
export const Plan = ({ plan, use }) => (plan.cells ? html`<${PlanOfSweep} plan=${plan} />` : html`<${PlanOfExperiment} plan=${plan} use=${use} />`);

function PlanOfExperiment({ plan, use }) {
  const { sizes, memory, time, ways, assumptions, notes, device } = plan;
  const counted = SIZES.filter((name) => sizes[name] !== null).map((name) => `${sizes[name]} ${words(name)}`).join(", ");
  return html`
    <${Verdict} plan=${plan} parts=${[plan]} />
    <p class="faint">${counted}</p>
    ${notes.length > 0 && html`<div class="caution">${notes.map((note) => html`<p><${Text} text=${note} /></p>`)}</div>`}
    ${memory && html`<div class="beside"><${Memory} memory=${memory} /><${Time} time=${time} /></div><${Ways} ways=${ways} use=${use} />`}
    <${Assumptions} assumptions=${assumptions} />
    <p class="faint">Reckoned for ${described(device)}.</p>`;
}

function Verdict({ plan, parts }) {
  const verdicts = parts.flatMap(({ memory, time }) => [memory?.fits, time?.fits]);
  const standing = verdicts.includes(false) ? "bad" : verdicts.includes(true) ? "good" : "";
  return html`<p class=${`verdict ${standing}`} role="status"><${Text} text=${plan.verdict} /></p>`;
}

/** A table of names and figures; rows are [name, figure, whether it is a sum]. */
function Figures({ title, unit, rows }) {
  return html`<table class="list figures">
    <thead><tr><th>${title}</th><th class="figure">${unit}</th></tr></thead>
    <tbody>${rows.filter(Boolean).map(([name, figure, sum]) => html`<tr class=${sum ? "chosen" : ""}><th>${name}</th><td class="figure">${figure}</td></tr>`)}</tbody>
  </table>`;
}

function Memory({ memory }) {
  const limit = memory.limit_mb === null ? "" : ` of ${memory.limit_mb.toFixed(0)}`;
  const rows = memory.parts.map(({ part, mb }) => [part, mb.toFixed(1)]);
  return html`<${Figures} title="memory" unit="MB" rows=${[...rows, [`peak${limit}`, memory.peak_mb.toFixed(1), true]]} />`;
}

function Time({ time }) {
  const limit = time.limit_seconds === null ? "" : ` of ${duration(time.limit_seconds)}`;
  const rows = [
    ...time.parts.map(({ part, seconds }) => [part, number(seconds, 3)]),
    ["a hyperiteration", number(time.hyperiteration_seconds, 3), true],
    [`an evaluation, of ${time.evaluations}`, number(time.evaluation_seconds, 3)],
    time.closing_seconds > 0 && ["the report at the end", number(time.closing_seconds, 3)],
    [`in all${limit}`, duration(time.total_seconds), true],
  ];
  return html`<${Figures} title="time" unit="seconds" rows=${rows} />`;
}

function Ways({ ways, use }) {
  const possible = ways.filter(({ reason }) => reason === null), others = ways.filter(({ reason }) => reason !== null);
  return html`
    <div class="wide"><table class="list">
      <thead><tr><th>way</th><th class="figure">MB</th><th class="figure">seconds</th><th>same</th><th><span class="unseen">fits</span></th><th><span class="unseen">take it</span></th></tr></thead>
      <tbody>${possible.map(({ name, set, memory_mb, hyperiteration_seconds, same, fits }) => html`<tr>
        <th>${name}</th>
        <td class="figure">${memory_mb.toFixed(0)}</td><td class="figure">${number(hyperiteration_seconds, 3)}</td><td>${same ? "yes" : "no"}</td>
        <td>${fits !== null && html`<span class=${`standing ${fits ? "good" : "bad"}`}>${fits ? "fits" : "does not fit"}</span>`}</td>
        <td>${Object.keys(set).length > 0 && html`<button class="quiet" title=${settings(set)} aria-label=${`take ${name}: ${settings(set)}`} onClick=${() => use(set)}>take</button>`}</td>
      </tr>`)}</tbody>
    </table></div>
    <p class="faint">Seconds of a hyperiteration. Same: whether it gives the same hypergradient as the spec's, to round-off. <i>Take</i> writes the way into the spec.</p>
    ${others.length > 0 && html`<details><summary>${others.length} not possible</summary>
      <dl class="facts">${others.map(({ name, reason }) => html`<dt>${name}</dt><dd><${Text} text=${reason} /></dd>`)}</dl>
    </details>`}`;
}

/** What to set in the spec, field by field. */
const settings = (set) => Object.entries(set).map(([field, value]) => `${field}=${JSON.stringify(value)}`).join("\n");

function PlanOfSweep({ plan }) {
  const { cells, devices } = plan;
  const paths = Object.keys(cells[0].parameters);
  const several = devices.length > 1;
  return html`
    <${Verdict} plan=${plan} parts=${cells} />
    <div class="wide"><table class="list">
      <thead><tr>
        ${[...shortNames(paths)].map(([path, name]) => html`<th title=${path}>${name}</th>`)}
        <th class="figure">seeds</th>${several && html`<th>device</th>`}
        <th class="figure">MB</th><th class="figure">a hyperiteration</th><th class="figure">a member</th><th><span class="unseen">fits</span></th>
      </tr></thead>
      <tbody>${cells.map((cell) => html`<tr>
        ${paths.map((path) => html`<td><${Folded} text=${setting(cell.parameters[path])} /></td>`)}
        <td class="figure">${cell.seeds}</td>${several && html`<td>${cell.device}</td>`}
        <td class="figure" title=${cell.gap}>${cell.memory ? cell.memory.peak_mb.toFixed(0) : "not modelled"}</td>
        <td class="figure">${cell.time && seconds(cell.time.hyperiteration_seconds)}</td>
        <td class="figure">${cell.time && seconds(cell.time.total_seconds)}</td>
        <td><${Fits} cell=${cell} /></td>
      </tr>`)}</tbody>
    </table></div>
    ${devices.map((device) => html`<p class="faint">Reckoned for ${described(device)}.</p>`)}`;
}

function Fits({ cell }) {
  const over = ["memory", "time"].filter((part) => cell[part]?.fits === false);
  if (over.length) return html`<span class="standing bad">${over.join(" and ")}: above the limit</span>`;
  return (cell.memory?.fits || cell.time?.fits) && html`<span class="standing good">fits</span>`;
}

const seconds = (value) => (value >= 10 ? duration(value) : `${number(value, 2)} s`);

/** A device by its name and rates. */
function described(device) {
  const rates = [
    [device.operations_per_second / 1e9, "Gflop/s"],
    device.bf16_operations_per_second !== null && [device.bf16_operations_per_second / 1e9, "Gflop/s in bf16"],
    [device.bytes_per_second / 1e9, "GB/s"],
    [device.operator_seconds * 1e6, "µs an operator"],
    device.replayed_seconds !== null && [device.replayed_seconds * 1e6, "µs one from a CUDA graph"],
  ];
  return `${device.name}: ${rates.filter(Boolean).map(([rate, unit]) => `${number(rate, 3)} ${unit}`).join(", ")}`;
}

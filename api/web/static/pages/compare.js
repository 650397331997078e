// Experiments side by side: where their specs differ, what each reached, their curves, one colour an experiment.
import { useMemo } from "preact/hooks";
import { Chart, COLOURS, DASHES, looks } from "../chart.js";
import { MOST_COMPARED } from "../choosing.js";
import { brief, differences, namesApart, ownName, reached, shortNames, withoutCommon } from "../comparing.js";
import { duration, inOrder, score, words } from "../format.js";
import { html } from "../html.js";
import { useExperiments } from "../live.js";
import { apart, label, MOST_LINES, panels, thresholds } from "../panels.js";
import { Folded, Id, Nothing, Progress, Status, Trouble, useTitle } from "../parts.js";
import { to } from "../routing.js";

const MISSING = "–";

export function Compare({ query }) {
  useTitle("Compare");
  const ids = [...new Set(query.getAll("id"))];
  if (ids.length < 2) {
    return html`<h1>Compare</h1><${Nothing}>
      Choose from two to ${MOST_COMPARED} <a href=${to("experiments")}>experiments</a>, or members of a <a href=${to("sweeps")}>sweep</a>, by the boxes at the left of their tables.
    <//>`;
  }
  return html`<${Compared} ids=${ids.slice(0, MOST_COMPARED)} left=${ids.slice(MOST_COMPARED)} />`;
}

function Compared({ ids, left }) {
  const found = useExperiments(ids);
  const shown = ids.filter((id) => found[id]?.record).map((id) => found[id]);
  const records = shown.map(({ record }) => record);
  const names = useMemo(() => namesApart(records), [records.map(({ id }) => id).join()]);
  const without = (id) => to("compare", { id: ids.filter((each) => each !== id) });
  const common = new Set(records.map(ownName));
  const waiting = ids.some((id) => !found[id]?.record && !found[id]?.error);
  const count = waiting ? ids.length : records.length || ids.length;
  return html`
    <div class="head"><h1>${count} ${count === 1 ? "experiment" : "experiments"}${records.length > 1 && common.size === 1 && `: ${[...common][0]}`}</h1></div>
    ${left.length > 0 && html`<div class="caution"><p>At most ${MOST_COMPARED} are compared: ${left.length} are left out.</p></div>`}
    <${Troubles} ids=${ids} found=${found} without=${without} />
    ${waiting && html`<${Nothing}>Loading …<//>`}
    ${records.length > 0 && html`
      <${Table} shown=${shown} names=${names} without=${without} />
      <section><h2>Curves</h2><${Panels} shown=${shown} names=${names} /></section>`}`;
}

/** What could not be read: that the service does not answer is told once. */
function Troubles({ ids, found, without }) {
  const failed = ids.filter((id) => found[id]?.error);
  const silent = failed.find((id) => found[id].error.status === 0);
  return html`
    ${silent && html`<${Trouble} error=${found[silent].error} />`}
    ${failed.filter((id) => found[id].error.status !== 0).map((id) => html`<div class="trouble" role="alert" key=${id}>
      <p><code>${id}</code> ${found[id].error.message} <a href=${without(id)}>Compare the others</a></p>
    </div>`)}`;
}

const Key = ({ place }) => {
  const { colour, dashes } = looks(place);
  return html`<span class="key"><i class=${`line-${colour} dash-${dashes}`} /></span>`;
};

/** A column an experiment; only the rows in which something is to be seen. */
function Table({ shown, names, without }) {
  const records = shown.map(({ record }) => record);
  const results = shown.map(({ result }) => result);
  const differing = useMemo(() => differences(records.map(({ spec }) => spec)), [records.map(({ id }) => id).join()]);
  const own = withoutCommon(records.map(ownName));
  const data = results.map((found) => found?.data?.sha256);
  const of = (text) => results.map((found) => (found ? text(found) : MISSING));
  const rows = [
    own.some(Boolean) && ["name", own.map((name) => html`<${Folded} text=${name} />`)],
    ["status", records.map(({ status }) => html`<${Status} status=${status} />`)],
    ["progress", records.map((record) => html`<${Progress} record=${record} />`)],
    ...[...shortNames([...differing.keys()])].map(([path, name]) => [name, differing.get(path).map((value) => html`<${Folded} text=${brief(value)} />`), path]),
    new Set(data.filter(Boolean)).size > 1 && ["data (sha256)", data.map((sha) => sha?.slice(0, 8) ?? MISSING)],
    ...(results.some(Boolean) ? [
      ["best at", of(({ best }) => best.hyperiteration), "hyperiteration of the outer variables that are best on validation data"],
      ...reached(results).map(([set, name, values]) => [`${set} ${words(name)}`, values.map((value) => (value ? score(name, value) : MISSING))]),
      ["took", of(({ timing }) => duration(timing.total_seconds))],
      ["memory", of(({ memory }) => `${memory.peak_mb.toFixed(0)} MB`)],
    ] : []),
  ].filter(Boolean);
  return html`<div class="wide"><table class="compared">
    <thead><tr><th />${records.map(({ id, name }, place) => html`<th key=${id} title=${name}>
      <${Key} place=${place} /><${Id} id=${id} page="experiments" /> <a class="quiet" href=${without(id)} title="compare the others" aria-label=${`compare the others, without ${names[place]}`}>×</a>
    </th>`)}</tr></thead>
    <tbody>${rows.map(([title, cells, about]) => html`<tr key=${title}><th title=${about}>${title}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** The panels below one legend. */
function Panels({ shown, names }) {
  const drawn = shown.map(({ curves }) => curves);
  const drawings = useMemo(() => {
    const most = drawn.length > COLOURS ? 1 : DASHES.length; // each series of a panel has dashes of its own
    const whole = panels(inOrder(new Set(drawn.flatMap((curves) => [...curves.keys()]))));
    const parted = drawn.length > 1 ? whole.flatMap((panel) => (panel.series.length > most ? apart(panel) : [panel])) : whole;
    return parted.map((panel) => ({ panel, lines: linesOf(panel, drawn, names) }));
  }, [names, ...drawn]);
  if (!drawings.length) return html`<${Nothing}>The first points come with the first hyperiterations.<//>`;
  const specs = shown.map(({ record }) => record.spec);
  return html`
    <p class="legend all">${names.map((name, place) => html`<span><${Key} place=${place} />${name}</span>`)}</p>
    <div class="panels">
      ${drawings.map(({ panel, lines }) => html`<${Chart} key=${panel.title} ...${panel} lines=${lines} thresholds=${thresholds(panel, specs)} />`)}
    </div>`;
}

/** A colour for each experiment, dashes for each series or, where the panel has one, for the experiments after those
 * that have used up the colours. */
function linesOf(panel, drawn, names) {
  const told = panel.series.length > 1 && panel.series.length <= MOST_LINES;
  return drawn.flatMap((curves, experiment) => panel.series.flatMap((name, place) => {
    if (!curves.has(name)) return [];
    const { colour, dashes } = looks(experiment);
    return [{ ...curves.get(name), label: told ? label(name) : "", owner: names[experiment], colour, dashes: told ? place : dashes }];
  }));
}

// One sweep as it goes: where it stands, what is best, its cells, their curves, its members.
import { useMemo, useState } from "preact/hooks";
import { Chart } from "../chart.js";
import { ChooseBox, CompareLink, useChosen } from "../choosing.js";
import { shortNames } from "../comparing.js";
import { inOrder, measure, plain, setting, words } from "../format.js";
import { html } from "../html.js";
import { own } from "../json.js";
import { LATER, SOON, usePolled } from "../live.js";
import { panelOf } from "../panels.js";
import { Age, Copy, Facts, Folded, Id, Json, Labels, Nothing, Status, Sure, Trouble, useTitle } from "../parts.js";
import { to } from "../routing.js";
import { cellLines, overParameter, useSeries } from "../seeds.js";
import { post } from "../service.js";
import { chosenBy, parametersOf, sortable, spread, States, SweepProgress, testMetrics } from "../sweeping.js";
import { Table } from "../table.js";

const MANY = 200; // members
const OPEN = 30; // members up to which they are shown unasked
const CELLS = 8, SEEDS = 10; // whose curves are drawn unasked
const NO_BEST = "No best: members were chosen by different metrics or judged on different data or tasks, or no value is finite.";

export function Sweep({ id }) {
  const { content: record, error, refresh } = usePolled(`sweeps/${id}`, {}, ({ ended, members }) => (ended || members > MANY ? LATER : SOON));
  useTitle(record?.name ?? id.slice(0, 8));
  return html`
    ${record && html`<${Head} record=${record} refresh=${refresh} />`}
    <${Trouble} error=${error} again=${refresh} />
    ${record ? html`<${Parts} record=${record} />` : !error && html`<${Nothing}>Loading …<//>`}`;
}

function Head({ record, refresh }) {
  const { id, counts } = record;
  const act = (name) => async () => {
    await post(`sweeps/${id}:${name}`);
    refresh();
  };
  const again = counts.failed + counts.cancelled;
  return html`
    <div class="head">
      <h1>${record.name}</h1>
      <div class="actions">
        ${counts.queued + counts.running > 0 && html`<${Sure} act=${act("cancel")} question="Every member that has not ended is cancelled.">Cancel<//>`}
        ${again > 0 && html`<${Sure} act=${act("retry")} question=${`${again} ${again === 1 ? "member is" : "members are"} submitted again.`}>Retry<//>`}
        <a class="button" href=${to("new", { sweep: id })}>Change and submit</a>
      </div>
    </div>
    <p class="about">
      <code class="whole-id">${id}</code> <${Copy} text=${id} />
      <${Labels} labels=${record.labels} page="sweeps" />
    </p>
    <p class="about">
      <a href=${to("experiments", { sweep: id })}>${record.members} members</a>
      <${States} counts=${counts} />
      <span class="faint">submitted <${Age} at=${record.created_at} /></span>
    </p>
    <${SweepProgress} record=${record} />`;
}

function Parts({ record }) {
  const [open, show] = useState(record.members <= OPEN);
  const pause = () => (open && !record.ended ? (record.members > MANY ? LATER : SOON) : false);
  const { content, error, refresh } = usePolled(`sweeps/${record.id}/members`, {}, pause, [record.ended, record.counts.succeeded, open].join());
  return html`
    <${Best} record=${record} />
    <section><h2>Cells</h2><${Cells} record=${record} /></section>
    <section><h2>Curves</h2><${Curves} record=${record} members=${content?.members ?? []} /></section>
    <section>
      <h2>Members</h2>
      <${Trouble} error=${error} again=${refresh} />
      <details open=${open} onToggle=${(event) => show(event.currentTarget.open)}>
        <summary>All ${record.members}, the newest trial of each</summary>
        ${open && (content ? html`<${Members} members=${content.members} />` : html`<${Nothing}>Loading …<//>`)}
      </details>
    </section>
    <section><h2>Spec</h2>
      <details><summary>The base as it was given, the grid and the seeds · <code>${record.spec_sha256.slice(0, 12)}</code></summary>
        <${Json} value=${record.spec} />
      </details>
    </section>`;
}

function Best({ record }) {
  const { best, best_cell: cell, cells, counts } = record;
  if (!best) return counts.succeeded > 1 && html`<p class="faint">${NO_BEST}</p>`;
  const tests = (test, text) => Object.keys(test).sort().map((name) => `test ${words(name)} ${text(name, test[name])}`);
  const scores = ({ metric, validation, test }, text) => [`validation ${words(metric)} ${text(metric, validation)}`, ...tests(test, text)].join(", ");
  const where = html`(member ${best.member}, experiment <${Id} id=${best.experiment_id} page="experiments" />)`;
  return html`<${Facts} facts=${[
    ["Best member", html`<span class="chosen">${parametersOf(best.parameters)}</span> ${where}: ${scores(best, measure)}`],
    cell && cells.length > 1 && ["Best cell", html`<span class="chosen">${parametersOf(cell.parameters)}</span> (${cell.seeds} seeds): ${scores(cell, spread)}`],
  ]} />`;
}

/** Columns of parameters by their short names. */
const parameterColumns = (rows) => [...shortNames(Object.keys(rows[0].parameters))].map(([path, title]) => ({
  title, about: path, value: ({ parameters }) => sortable(parameters[path]), show: ({ parameters }) => html`<${Folded} text=${setting(parameters[path])} />`,
}));

/** A line a cell; the best is marked. */
function Cells({ record }) {
  const { cells, best_cell: best } = record;
  const scored = cells.filter(({ metric }) => metric);
  const chosen = chosenBy(scored);
  const columns = [
    ...parameterColumns(cells),
    { title: "seeds", figure: true, value: ({ succeeded }) => succeeded, show: ({ succeeded, seeds }) => `${succeeded}/${seeds}` },
    {
      title: chosen.title, figure: true, value: ({ validation }) => plain(validation?.mean),
      show: ({ metric, validation }) => metric && chosen.text(metric, spread(metric, validation)),
    },
    ...testMetrics(scored).map((name) => ({
      title: `test ${words(name)}`, figure: true, value: ({ test }) => plain(own(test, name)?.mean), show: ({ test }) => spread(name, own(test, name)),
    })),
  ];
  const deviates = cells.some(({ validation }) => validation && validation.deviation !== null);
  return html`
    <${Table} columns=${columns} rows=${cells} page=${40} keyOf=${({ members }) => members[0]} marked=${({ members }) => cells.length > 1 && best?.members[0] === members[0]} />
    ${deviates && html`<p class="faint">±: standard deviation over seeds</p>`}`;
}

/** A series of the members that have succeeded, a line a cell, and the validation metric over a parameter. */
function Curves({ record, members }) {
  const succeeded = members.filter(({ status }) => status === "succeeded");
  if (!succeeded.length) return html`<${Nothing}>${record.ended ? "No member has succeeded." : "They come with the first member that has succeeded."}<//>`;
  return html`<${Series} cells=${record.cells} succeeded=${succeeded} />`;
}

function Series({ cells, succeeded }) {
  const [asked, ask] = useState(null);
  const [all, drawAll] = useState(false);
  const { content, error } = usePolled(`experiments/${succeeded[0].experiment_id}/curves`, { max_points: 4 }, () => false);
  const names = inOrder(Object.keys(content?.series ?? {}));
  const name = asked ?? [`validation/${succeeded[0].score?.metric}`, "outer_objective", names[0]].find((each) => names.includes(each));
  const drawn = useMemo(() => chosenIds(cells, succeeded, all), [succeeded, all]);
  const { curves, error: failure } = useSeries(name, name ? drawn.ids.flat() : []);
  const lines = cellLines(cells, drawn.ids, curves);
  const over = overParameter(cells);
  return html`
    <${Trouble} error=${error ?? failure} />
    <div class="filters">
      <label>Series <select value=${name} onChange=${(event) => ask(event.currentTarget.value)}>${names.map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
      ${drawn.left > 0 && html`<button onClick=${() => drawAll(true)}>Draw the other ${drawn.left} ${drawn.left === 1 ? "member" : "members"}, too</button>`}
    </div>
    <div class="panels few">
      ${name && html`<${Chart} key=${name} ...${panelOf(name)} lines=${lines} />`}
      ${over && html`<${Chart} ...${panelOf(`validation/${over.metric}`)} ...${over} title=${`Validation ${words(over.metric)} by ${over.along.name}`} />`}
    </div>
    <p class="faint">
      A line a cell: the mean over its seeds${banded(lines) && ", in the range from the least to the greatest"}.
      ${over && ` By ${over.along.name}: cells whose seeds have all succeeded${banded(over.lines) ? ", in the range of the standard deviation" : ""}.`}
    </p>`;
}

const banded = (lines) => lines.some(({ low }) => low);

/** The experiments of each cell that are drawn, and how many members that have succeeded are left. */
function chosenIds(cells, succeeded, all) {
  const found = new Map(succeeded.map(({ member, experiment_id: id }) => [member, id]));
  const every = cells.map(({ members }) => members.filter((member) => found.has(member)).map((member) => found.get(member)));
  let room = all ? cells.length : CELLS;
  const ids = every.map((own) => (own.length && room-- > 0 ? own.slice(0, all ? own.length : SEEDS) : []));
  return { ids, left: succeeded.length - ids.flat().length };
}

function Members({ members }) {
  const [chosen, toggle] = useChosen();
  const scores = members.map(({ score }) => score).filter(Boolean);
  const by = chosenBy(scores);
  const columns = [
    { title: "compare", show: ({ member, experiment_id: id }) => html`<${ChooseBox} id=${id} name=${`member ${member}`} chosen=${chosen} toggle=${toggle} />` },
    { title: "member", figure: true, value: ({ member }) => member, show: ({ member }) => member },
    { title: "trial", figure: true, value: ({ trial }) => trial, show: ({ trial }) => trial },
    { title: "id", value: ({ experiment_id: id }) => id, show: ({ experiment_id: id }) => html`<${Id} id=${id} page="experiments" />` },
    ...parameterColumns(members),
    { title: "status", value: ({ status }) => status, show: ({ status }) => html`<${Status} status=${status} />` },
    { title: "progress", figure: true, value: ({ progress }) => progress.fraction, show: ({ progress }) => `${progress.hyperiteration}/${progress.hyperiterations}` },
    {
      title: by.title, figure: true, value: ({ score }) => plain(score?.validation),
      show: ({ score }) => score && by.text(score.metric, measure(score.metric, score.validation)),
    },
    ...testMetrics(scores).map((name) => ({
      title: `test ${words(name)}`, figure: true, value: ({ score }) => plain(own(score?.test, name)),
      show: ({ score }) => score && Object.hasOwn(score.test, name) && measure(name, score.test[name]),
    })),
  ];
  if (members.some(({ error }) => error)) {
    columns.push({ title: "error", value: ({ error }) => error?.code ?? NaN, show: ({ error }) => error && html`<${Failed} error=${error} />` });
  }
  return html`
    <p class="choice"><${CompareLink} chosen=${chosen} toggle=${toggle} /></p>
    <${Table} columns=${columns} rows=${members} keyOf=${({ member }) => member} />`;
}

const Failed = ({ error }) => html`<details class="folded"><summary class="wrong" title=${error.message}>${error.code}</summary>${error.message}</details>`;

// One experiment as it goes: where it stands, its curves, what came of it, what happened, its files, what was asked for.
import { useMemo, useState } from "preact/hooks";
import { Assumptions } from "../assumptions.js";
import { Chart } from "../chart.js";
import { bytes, capital, duration, inOrder, measure, method, moment, number, score, setting, words } from "../format.js";
import { html } from "../html.js";
import { isObject } from "../json.js";
import { useClock, useExperiment, usePolled } from "../live.js";
import { label, MOST_LINES, panels, thresholds } from "../panels.js";
import { active, Age, Copy, Facts, Json, Labels, Metrics, Nothing, Progress, Status, Sure, Text, Trouble, useTitle, Wrong } from "../parts.js";
import { to } from "../routing.js";
import { address, download, post } from "../service.js";

export function Experiment({ id }) {
  const { record, events, curves, error, refresh } = useExperiment(id);
  useTitle(record?.name ?? id.slice(0, 8));
  if (!record) return html`<${Trouble} error=${error} again=${refresh} />${!error && html`<${Nothing}>Loading …<//>`}`;
  const warnings = events.filter(({ kind }) => kind === "warning");
  return html`
    <${Head} record=${record} refresh=${refresh} />
    <${Trouble} error=${error} again=${refresh} />
    <${Ending} record=${record} />
    ${record.status === "succeeded" && html`<${Result} id=${id} />`}
    <section>
      <h2>Curves</h2>
      ${warnings.length > 0 && html`<${Warnings} warnings=${warnings} />`}
      <${Panels} record=${record} curves=${curves} />
    </section>
    <div class="beside">
      <section><h2>What happened</h2><${History} events=${events} /></section>
      <section><h2>Files</h2><${Files} record=${record} curves=${curves} /></section>
    </div>
    <section>
      <h2>Spec</h2>
      <details><summary>As it was stored, with every default · <code>${record.spec_sha256.slice(0, 12)}</code></summary>
        <${Json} value=${record.spec} />
      </details>
    </section>`;
}

function Head({ record, refresh }) {
  const { spec, sweep } = record;
  const cancel = async () => {
    await post(`experiments/${record.id}:cancel`);
    refresh();
  };
  return html`
    <div class="head">
      <h1>${record.name} <${Status} status=${record.status} /></h1>
      <div class="actions">
        ${record.status !== "cancelling" && active(record) && html`<${Sure} act=${cancel} question="Its curves stay, there will be no result.">Cancel<//>`}
        <a class="button" href=${to("new", { from: record.id })}>Change and submit</a>
      </div>
    </div>
    <p class="about">
      <code class="whole-id">${record.id}</code> <${Copy} text=${record.id} />
      ${sweep && html`<span>member ${sweep.member} of sweep <a href=${to(`sweeps/${sweep.id}`)}>${sweep.id.slice(0, 8)}</a></span>`}
      <${Labels} labels=${record.labels} page="experiments" />
    </p>
    <p class="about faint">
      <span>${capital(words(spec.problem.kind))}</span><span>${method(spec.algorithm)}</span><span>seed ${spec.seed}</span>
      <span>submitted <${Age} at=${record.created_at} /></span>
      ${record.started_at && html`<${Took} record=${record} />`}
      ${record.attempt > 1 && html`<span>attempt ${record.attempt}</span>`}
    </p>
    <${Progress} record=${record} />`;
}

function Took({ record }) {
  const now = useClock(1);
  const end = record.finished_at ? Date.parse(record.finished_at) : now;
  const seconds = Math.max(0, (end - Date.parse(record.started_at)) / 1000);
  return html`<span title=${`started ${moment(record.started_at)}`}>${record.finished_at ? "took" : "runs for"} ${duration(seconds)}</span>`;
}

/** Why it failed, or was lost and waits to be tried again. */
function Ending({ record }) {
  const { error, lost_attempt: lost } = record;
  const told = (failure) => html`<${Text} text=${failure.message} /> <span class="faint">(${failure.category}: ${failure.code}, attempt ${failure.attempt})</span>`;
  return html`
    ${error && html`<div class="trouble" role="alert"><p>${told(error)}</p></div>`}
    ${lost && html`<div class="caution"><p>Lost, through no fault of its own: ${told(lost.error)}</p></div>`}`;
}

function Warnings({ warnings }) {
  return html`<details class="caution"><summary>${warnings.length} ${warnings.length === 1 ? "warning" : "warnings"}: <${Text} text=${warnings.at(-1).data.message} /></summary>
    <ul>${warnings.map(({ data }) => html`<li>${"hyperiteration" in data && html`<span class="faint">hyperiteration ${data.hyperiteration}</span> `}<${Text} text=${data.message} /></li>`)}</ul>
  </details>`;
}

function Panels({ record, curves }) {
  const shown = useMemo(() => (curves ? panels(inOrder(curves.keys())) : []), [curves]);
  const lines = useMemo(() => shown.map((panel) => linesOf(panel, curves)), [shown]);
  if (!shown.length) return html`<${Nothing}>${curves && !active(record) ? "It has no curves." : "The first points come with the first hyperiterations."}<//>`;
  const chart = (panel, place) => html`<${Chart} key=${panel.title} ...${panel} lines=${lines[place]} thresholds=${thresholds(panel, [record.spec])} />`;
  return html`
    <p class="faint">Drag across a panel to zoom into all of them, double-click to go back.</p>
    <div class="panels">${shown.map(chart)}</div>`;
}

/** A colour for each series of the panel; those that are too many to be told apart are a bundle of one colour. */
function linesOf(panel, curves) {
  const told = panel.series.length > 1 && panel.series.length <= MOST_LINES;
  return panel.series.map((name, place) => ({ ...curves.get(name), label: told ? label(name) : "", colour: told ? place : 0 }));
}

/** Metrics of the chosen and the last outer variables, what the problem reports, the theorem's assumptions. */
function Result({ id }) {
  const { content: found, error, refresh } = usePolled(`experiments/${id}/result`, {}, () => false);
  if (!found) return html`<${Trouble} error=${error} again=${refresh} />`;
  const { best, final, report = {}, diagnostics = {}, assumptions } = found;
  const isMetrics = (value) => isObject(value) && Object.values(value).every((each) => isObject(each) && "mean" in each) && Object.keys(value).length > 0;
  const reported = Object.keys(report).sort();
  const rows = [
    [`best, hyperiteration ${best.hyperiteration}: validation`, best.validation ?? {}],
    [`best, hyperiteration ${best.hyperiteration}: test`, found.test ?? {}],
    ...(best.hyperiteration === final.hyperiteration ? [] : [
      [`last, hyperiteration ${final.hyperiteration}: validation`, final.validation ?? {}],
      [`last, hyperiteration ${final.hyperiteration}: test`, final.test ?? {}],
    ]),
    ...reported.filter((name) => isMetrics(report[name])).map((name) => [words(name), report[name]]),
  ].filter(([, metrics]) => Object.keys(metrics).length);
  const facts = [
    ...reported.filter((name) => !isMetrics(report[name])).flatMap((name) => leaves(name, report[name])),
    ...Object.entries(diagnostics).filter(([, seen]) => seen.warnings).map(([name, seen]) => [words(name), warned(seen)]),
  ];
  return html`<section>
    <h2>Result</h2>
    ${rows.length > 0 && html`<${Metrics} rows=${rows} />`}
    ${facts.length > 0 && html`<${Facts} facts=${facts} />`}
    <p class="faint">${made(found)}</p>
    ${assumptions && html`<details><summary>Assumptions of the convergence theorem</summary><${Assumptions} assumptions=${assumptions} /></details>`}
    <details><summary>All of it, as JSON</summary><${Json} value=${found} /></details>
  </section>`;
}

const SHORT = 10; // numbers of a list that is shown

/** Names and values of a part of the report; long lists and tables are left to the JSON. */
function leaves(name, value) {
  if (isObject(value) && !("mean" in value)) return Object.entries(value).flatMap(([own, each]) => leaves(`${name}/${own}`, each));
  if (Array.isArray(value) && (value.length > SHORT || value.some((each) => typeof each === "object"))) return [];
  return [[words(name), reportedAs(name, value)]];
}

function reportedAs(name, value) {
  if (isObject(value)) return score(name, value);
  if (Array.isArray(value)) return `[${value.map((each) => reportedAs(name, each)).join(", ")}]`;
  return typeof value === "number" && !Number.isInteger(value) ? measure(name, value) : setting(value);
}

/** How a diagnostic that crossed its threshold went on; the warnings say when. */
function warned({ warnings, last, worst, worst_hyperiteration: at }) {
  return `${warnings} ${warnings === 1 ? "warning" : "warnings"}: last ${number(last)}, worst ${number(worst)} at hyperiteration ${at}`;
}

function made({ timing = {}, memory = {}, environment = {} }) {
  return [
    "total_seconds" in timing && duration(timing.total_seconds),
    "seconds_per_hyperiteration" in timing && `${number(timing.seconds_per_hyperiteration)} s a hyperiteration`,
    memory.peak_mb && `${memory.peak_mb.toFixed(0)} MB`,
    environment.device && `on ${environment.device_name ?? environment.device}`,
    environment.torch && `torch ${environment.torch}`,
  ].filter(Boolean).join(", ");
}

/** The events, newest first; warnings are with the curves. */
function History({ events }) {
  const told = events.filter(({ kind }) => kind !== "warning").reverse();
  if (!told.length) return html`<${Nothing}>Nothing yet.<//>`;
  return html`<ol class="history">${told.map(({ kind, at, data, version }) => html`<li key=${version}>
    <span class=${`event ${kind}`}>${words(kind)}</span> <span>${about(data)}</span> <span class="faint"><${Age} at=${at} /></span>
  </li>`)}</ol>`;
}

/** The facts of an event in one line. */
const about = (data) => Object.entries(data).map(([name, value]) => (name === "message" ? value : `${words(name)} ${value?.message ?? setting(value)}`)).join(", ");

function Files({ record, curves }) {
  const goesOn = active(record);
  const { content, error, refresh } = usePolled(`experiments/${record.id}/artifacts`, {}, () => (goesOn ? 5 : false), goesOn);
  const path = `experiments/${record.id}`, own = record.id.slice(0, 8);
  const has = curves && curves.size > 0;
  return html`<${Trouble} error=${error} again=${refresh} />
    <ul class="files">
      ${(content?.artifacts ?? []).map(({ name, size, sha256 }) => html`<li key=${name}>
        <${File} url=${address(`${path}/artifacts/${encodeURIComponent(name)}`)} name=${`${own} ${name}`}>${name}<//>
        <span class="faint" title=${`sha256 ${sha256}`}> ${bytes(size)}</span>
      </li>`)}
      ${has && html`<li><${File} url=${address(`${path}/curves`)} name=${`${own} curves.csv`} accept="text/csv">every point of the curves, CSV<//></li>`}
    </ul>
    ${!has && content?.artifacts.length === 0 && html`<${Nothing}>None yet.<//>`}`;
}

function File({ url, name, accept, children }) {
  const [error, tell] = useState(null);
  const save = () => download(url, name, accept).then(() => tell(null), tell);
  return html`<button class="link" onClick=${save}>${children}</button><${Wrong} error=${error} />`;
}

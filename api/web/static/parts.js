// Small pieces that several pages have in common.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { age, moment, score, toCome, words } from "./format.js";
import { html } from "./html.js";
import { own } from "./json.js";
import { TERMINAL, useClock } from "./live.js";
import { to } from "./routing.js";

/** A text whose names stand between backticks. */
export const Text = ({ text }) => text.split("`").map((part, place) => (place % 2 ? html`<code>${part}</code>` : part));

export const Status = ({ status }) => html`<span class=${`status ${status}`}>${status}</span>`;

/** How long ago; the moment itself where one points at it. */
export function Age({ at }) {
  return html`<time datetime=${at} title=${moment(at)}>${age(at, useClock(30))}</time>`;
}

/** A bar in the colour of a state, with the count; without a length while something runs whose first hyperiteration is not done. */
export function Bar({ progress, state, runs, children }) {
  const { hyperiteration, hyperiterations, fraction } = progress;
  const waits = runs && hyperiteration === 0;
  return html`<span class="progress">
    <progress class=${state} max="1" value=${waits ? undefined : fraction} aria-label=${`${hyperiteration} of ${hyperiterations} hyperiterations`} />
    <span class="count">${hyperiteration}/${hyperiterations}</span>
    ${children}
  </span>`;
}

/** How far an experiment is, and what comes next. */
export function Progress({ record }) {
  const { status, progress } = record;
  return html`<${Bar} progress=${progress} state=${status} runs=${status === "running"}>${active(record) && html`<${Coming} record=${record} />`}<//>`;
}

/** What comes next for an experiment that has not ended. */
function Coming({ record }) {
  const coming = toCome(record, useClock(1));
  return coming !== record.status && html`<span class="faint">${coming}</span>`;
}

export function Labels({ labels, page }) {
  return Object.entries(labels).map(([name, value]) => html`<a class="label" href=${to(page, { label: `${name}:${value}` })}>${name}:${value}</a>`);
}

/** The beginning of an id, as a link to its page. */
export const Id = ({ id, page }) => html`<a class="id" href=${to(`${page}/${id}`)} title=${id}>${id.slice(0, 8)}</a>`;

/** What went wrong, with the fields that are to blame. */
export function Trouble({ error, again }) {
  if (!error) return null;
  return html`<div class="trouble" role="alert">
    <p><${Text} text=${error.message} />${error.status === 0 && " Trying again."} ${again && html`<button class="quiet" onClick=${again}>try now</button>`}</p>
    ${error.errors?.length > 0 && html`<ul>${error.errors.map(({ pointer, parameter, detail }) => html`<li><code>${pointer ?? parameter}</code> <${Text} text=${detail} /></li>`)}</ul>`}
  </div>`;
}

/** Where the list of a page is empty, or not there yet. */
export const Nothing = ({ children }) => html`<p class="nothing">${children}</p>`;

/** Names and what they are, two columns. */
export function Facts({ facts }) {
  return html`<dl class="facts">${facts.filter(Boolean).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

/** A value as JSON, to be copied. */
export function Json({ value }) {
  const text = useMemo(() => JSON.stringify(value, null, 2), [value]);
  return html`<p><${Copy} text=${text} /></p><pre class="json"><code>${text}</code></pre>`;
}

/** A button that copies a text. */
export function Copy({ text, children = "copy" }) {
  const [done, tell] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    tell(true);
    setTimeout(() => tell(false), 1500);
  };
  // Browsers have a clipboard where the page is from this machine or comes encrypted.
  return navigator.clipboard && html`<button class="quiet" onClick=${copy}>${done ? "copied" : children}</button>`;
}

/** What went wrong with what a button does, beside it. */
export const Wrong = ({ error }) => error && html` <span class="wrong" role="alert"><${Text} text=${error.message} /></span>`;

/** A button that asks once more before it does what cannot be undone; what goes wrong is told beside it. */
export function Sure({ act, children, question }) {
  const [asked, ask] = useState(false);
  const [error, tell] = useState(null);
  const [busy, wait] = useState(false);
  const button = useRef(null);
  useEffect(() => {
    if (asked) button.current.focus();
  }, [asked]);
  const go = async () => {
    wait(true);
    try {
      await act();
      tell(null);
    } catch (refusal) {
      tell(refusal);
    }
    wait(false);
    ask(false);
  };
  if (!asked) return html`<button onClick=${() => ask(true)}>${children}</button><${Wrong} error=${error} />`;
  return html`<span class="sure">${question} <button class="danger" ref=${button} disabled=${busy} onClick=${go}>${children}</button> <button class="quiet" onClick=${() => ask(false)}>no</button></span>`;
}

/** Metrics by name as a table: a row a set of data, {label: {metric: {mean, ci95}}}. */
export function Metrics({ rows }) {
  const names = [...new Set(rows.flatMap(([, metrics]) => Object.keys(metrics)))].sort();
  return html`<div class="wide"><table class="metrics">
    <thead><tr><th />${names.map((name) => html`<th class="figure">${words(name)}</th>`)}</tr></thead>
    <tbody>${rows.map(([label, metrics]) => html`<tr><th>${label}</th>${names.map((name) => html`<td class="figure">${score(name, own(metrics, name))}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

export const active = (record) => !TERMINAL.has(record.status);

/** The title of the window, while a page is shown. */
export function useTitle(title) {
  useEffect(() => {
    document.title = title ? `${title} · Bilevel` : "Bilevel";
  }, [title]);
}

const LONGEST = 40; // characters of a value in a table

/** A value that is shown whole where it is short, and else when it is unfolded. */
export function Folded({ text }) {
  return text.length <= LONGEST ? text : html`<details class="folded"><summary>${text.slice(0, LONGEST - 1)}…</summary>${text}</details>`;
}

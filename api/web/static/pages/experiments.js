// The list of experiments: filtered, newest first, page by page, up to date.
import { useState } from "preact/hooks";
import { words } from "../format.js";
import { html } from "../html.js";
import { usePolled } from "../live.js";
import { active, Age, Id, Labels, Nothing, Pages, Progress, Status, Trouble, useTitle } from "../parts.js";
import { to } from "../routing.js";

const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];
const SOON = 2, LATER = 10; // seconds between two looks: while something goes on, and while nothing does
const MOST_COMPARED = 16;

export function Experiments({ query }) {
  useTitle("Experiments");
  const filters = {
    status: query.getAll("status"), kind: query.getAll("kind"), label: query.getAll("label"), name: query.get("name"), id_prefix: query.get("id_prefix"), sweep: query.get("sweep"),
  };
  const pause = ({ items }) => (items.some(active) ? SOON : LATER);
  const cursor = query.get("cursor");
  const { content, error, refresh } = usePolled("experiments", { ...filters, cursor }, pause);
  const [chosen, choose] = useState([]);
  const go = (change) => (location.hash = to("experiments", { ...filters, ...change }));
  const toggle = (id) => choose(chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id]);
  const records = content?.items;
  const filtered = Object.values(filters).some((value) => value?.length);
  return html`
    <div class="head">
      <h1>Experiments</h1>
      <div class="actions">
        ${chosen.length > 1 && chosen.length <= MOST_COMPARED && html`<a class="button main" href=${to("compare", { id: chosen })}>Compare ${chosen.length}</a>`}
        ${chosen.length > MOST_COMPARED && html`<span class="faint">at most ${MOST_COMPARED} are compared</span>`}
        <a class="button" href=${to("new")}>New experiment</a>
      </div>
    </div>
    <${Filters} filters=${filters} go=${go} />
    <${Trouble} error=${error} again=${refresh} />
    ${records?.length === 0 && (filtered ? html`<${Nothing}>No experiment is like that. <a href=${to("experiments")}>Show all</a><//>` : html`<${Nothing}>There are no experiments yet. <a href=${to("new")}>Submit the first one</a><//>`)}
    ${records?.length > 0 && html`<div class="wide"><table class="list">
      <thead><tr><th><span class="unseen">compare</span></th><th>id</th><th>name</th><th>problem</th><th>status</th><th>progress</th><th>submitted</th></tr></thead>
      <tbody>${records.map((record) => html`<${Row} key=${record.id} record=${record} chosen=${chosen.includes(record.id)} toggle=${toggle} />`)}</tbody>
    </table></div>`}
    <${Pages} newest=${cursor && to("experiments", filters)} older=${content?.next && to("experiments", { ...filters, cursor: content.next })} />`;
}

function Row({ record, chosen, toggle }) {
  return html`<tr>
    <td><input type="checkbox" checked=${chosen} onChange=${() => toggle(record.id)} aria-label=${`compare ${record.name}`} /></td>
    <td><${Id} id=${record.id} page="experiments" /></td>
    <td class="name"><a href=${to(`experiments/${record.id}`)}>${record.name}</a> <${Labels} labels=${record.labels} page="experiments" /></td>
    <td>${words(record.spec.problem.kind)}</td>
    <td><${Status} status=${record.status} /></td>
    <td><${Progress} record=${record} /></td>
    <td><${Age} at=${record.created_at} /></td>
  </tr>`;
}

/** What the list is narrowed by; a text of hexadecimal digits, some of them numerals, is looked for in ids. */
function Filters({ filters, go }) {
  const search = (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get("text").trim();
    const isId = /^[0-9a-f-]{6,}$/i.test(text) && /\d/.test(text);
    go({ name: isId ? null : text, id_prefix: isId ? text : null });
  };
  const without = (name, value) => go({ [name]: filters[name].filter((each) => each !== value) });
  const toggle = (status) => (filters.status.includes(status) ? without("status", status) : go({ status: [...filters.status, status] }));
  return html`<div class="filters">
    <form role="search" onSubmit=${search}><input type="search" name="text" placeholder="name or id" aria-label="name or id" defaultValue=${filters.name ?? filters.id_prefix ?? ""} key=${filters.name ?? filters.id_prefix} /></form>
    <span role="group" aria-label="status">${STATES.map((status) => html`<button class=${`chip ${status}`} aria-pressed=${filters.status.includes(status)} onClick=${() => toggle(status)}>${status}</button>`)}</span>
    ${["label", "kind"].map((name) => filters[name].map((value) => html`<button class="chip" aria-pressed="true" title="show others, too" onClick=${() => without(name, value)}>${value} ×</button>`))}
    ${filters.sweep && html`<button class="chip" aria-pressed="true" onClick=${() => go({ sweep: null })}>sweep ${filters.sweep.slice(0, 8)} ×</button>`}
  </div>`;
}

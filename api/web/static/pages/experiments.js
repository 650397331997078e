// The list of experiments: filtered, newest first, page by page, up to date.
import { ChooseBox, CompareLink, useChosen } from "../choosing.js";
import { words } from "../format.js";
import { html } from "../html.js";
import { usePolled } from "../live.js";
import { active, Age, Id, Labels, Narrowed, Nothing, Pages, Progress, Search, Status, Trouble, useTitle } from "../parts.js";
import { to } from "../routing.js";

const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];
const SOON = 2, LATER = 10; // seconds between two looks: while something goes on, and while nothing does

export function Experiments({ query }) {
  useTitle("Experiments");
  const filters = {
    ...Object.fromEntries(["status", "kind", "label"].map((name) => [name, query.getAll(name)])),
    ...Object.fromEntries(["name", "id_prefix", "sweep", "in_sweep"].map((name) => [name, query.get(name)])),
  };
  const pause = ({ items }) => (items.some(active) ? SOON : LATER);
  const cursor = query.get("cursor");
  const { content, error, refresh } = usePolled("experiments", { ...filters, cursor }, pause);
  const [chosen, toggle] = useChosen();
  const go = (change) => (location.hash = to("experiments", { ...filters, ...change }));
  const records = content?.items;
  const filtered = Object.values(filters).some((value) => value?.length);
  return html`
    <div class="head">
      <h1>Experiments</h1>
      <div class="actions">
        <${CompareLink} chosen=${chosen} toggle=${toggle} />
        <a class="button" href=${to("new")}>New experiment</a>
      </div>
    </div>
    <${Filters} filters=${filters} go=${go} />
    <${Trouble} error=${error} again=${refresh} />
    ${records?.length === 0 && html`<${Nothing}>
      ${filtered ? html`No experiment is like that. <a href=${to("experiments")}>Show all</a>` : html`There are no experiments yet. <a href=${to("new")}>Submit the first one</a>`}
    <//>`}
    ${records?.length > 0 && html`<div class="wide"><table class="list stacked">
      <thead><tr><th><span class="unseen">compare</span></th><th>id</th><th>name</th><th>problem</th><th>status</th><th>progress</th><th>submitted</th></tr></thead>
      <tbody>${records.map((record) => html`<${Row} key=${record.id} record=${record} chosen=${chosen} toggle=${toggle} />`)}</tbody>
    </table></div>`}
    <${Pages} newest=${cursor && to("experiments", filters)} older=${content?.next && to("experiments", { ...filters, cursor: content.next })} />`;
}

function Row({ record, chosen, toggle }) {
  return html`<tr>
    <td><${ChooseBox} id=${record.id} name=${record.name} chosen=${chosen} toggle=${toggle} /></td>
    <td><${Id} id=${record.id} page="experiments" /></td>
    <td class="name"><a href=${to(`experiments/${record.id}`)}>${record.name}</a> <${Labels} labels=${record.labels} page="experiments" /></td>
    <td>${words(record.spec.problem.kind)}</td>
    <td><${Status} status=${record.status} /></td>
    <td><${Progress} record=${record} /></td>
    <td><${Age} at=${record.created_at} /></td>
  </tr>`;
}

/** What the list is narrowed by. */
function Filters({ filters, go }) {
  const toggle = (status) => go({ status: filters.status.includes(status) ? filters.status.filter((each) => each !== status) : [...filters.status, status] });
  return html`<div class="filters">
    <${Search} filters=${filters} go=${go} />
    <span role="group" aria-label="status">
      ${STATES.map((status) => html`<button class="chip" aria-pressed=${filters.status.includes(status)} onClick=${() => toggle(status)}>${status}</button>`)}
    </span>
    <button class="chip" aria-pressed=${filters.in_sweep === "false"} onClick=${() => go({ in_sweep: filters.in_sweep === "false" ? null : "false" })}>without members of sweeps</button>
    ${["label", "kind"].map((name) => html`<${Narrowed} filters=${filters} name=${name} go=${go} />`)}
    ${filters.sweep && html`<button class="chip" aria-pressed="true" onClick=${() => go({ sweep: null })}>sweep ${filters.sweep.slice(0, 8)} ×</button>`}
  </div>`;
}

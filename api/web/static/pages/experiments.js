// The list of experiments, of which some can be chosen to be compared.
import { ChooseBox, CompareLink, useChosen } from "../choosing.js";
import { words } from "../format.js";
import { html } from "../html.js";
import { Listing, Narrowed, Search } from "../listing.js";
import { active, Age, Id, Labels, Progress, Status, useTitle } from "../parts.js";
import { to } from "../routing.js";

const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];

export function Experiments({ query }) {
  useTitle("Experiments");
  const [chosen, toggle] = useChosen();
  const filters = {
    ...Object.fromEntries(["status", "kind", "label"].map((name) => [name, query.getAll(name)])),
    ...Object.fromEntries(["name", "id_prefix", "sweep", "in_sweep"].map((name) => [name, query.get(name)])),
  };
  const go = (change) => (location.hash = to("experiments", { ...filters, ...change }));
  return html`<${Listing}
    what="experiment" filters=${filters} cursor=${query.get("cursor")} goesOn=${active} fresh=${{}}
    actions=${html`<${CompareLink} chosen=${chosen} toggle=${toggle} />`}
    narrow=${html`<${Filters} filters=${filters} go=${go} />`}
    heads=${html`<th><span class="unseen">compare</span></th><th>id</th><th>name</th><th>problem</th><th>status</th><th>progress</th><th>submitted</th>`}
    row=${(record) => html`<${Row} key=${record.id} record=${record} chosen=${chosen} toggle=${toggle} />`}
  />`;
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
  return html`
    <${Search} filters=${filters} go=${go} />
    <span role="group" aria-label="status">
      ${STATES.map((status) => html`<button class="chip" aria-pressed=${filters.status.includes(status)} onClick=${() => toggle(status)}>${status}</button>`)}
    </span>
    <button class="chip" aria-pressed=${filters.in_sweep === "false"} onClick=${() => go({ in_sweep: filters.in_sweep === "false" ? null : "false" })}>without members of sweeps</button>
    ${["label", "kind"].map((name) => html`<${Narrowed} filters=${filters} name=${name} go=${go} />`)}
    ${filters.sweep && html`<button class="chip" aria-pressed="true" onClick=${() => go({ sweep: null })}>sweep ${filters.sweep.slice(0, 8)} ×</button>`}`;
}

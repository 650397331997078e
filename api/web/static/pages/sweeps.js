// The list of sweeps: filtered, newest first, page by page, up to date.
import { html } from "../html.js";
import { usePolled } from "../live.js";
import { Age, Id, Labels, Narrowed, Nothing, Pages, Search, Trouble, useTitle } from "../parts.js";
import { to } from "../routing.js";
import { States, SweepProgress } from "../sweeping.js";

const SOON = 2, LATER = 10; // seconds between two looks: while something goes on, and while nothing does

export function Sweeps({ query }) {
  useTitle("Sweeps");
  const filters = { label: query.getAll("label"), name: query.get("name"), id_prefix: query.get("id_prefix") };
  const cursor = query.get("cursor");
  const pause = ({ items }) => (items.every(({ ended }) => ended) ? LATER : SOON);
  const { content, error, refresh } = usePolled("sweeps", { ...filters, cursor }, pause);
  const go = (change) => (location.hash = to("sweeps", { ...filters, ...change }));
  const records = content?.items;
  const filtered = Object.values(filters).some((value) => value?.length);
  return html`
    <div class="head">
      <h1>Sweeps</h1>
      <div class="actions"><a class="button" href=${to("new", { kind: "sweep" })}>New sweep</a></div>
    </div>
    <div class="filters"><${Search} filters=${filters} go=${go} /><${Narrowed} filters=${filters} name="label" go=${go} /></div>
    <${Trouble} error=${error} again=${refresh} />
    ${records?.length === 0 && html`<${Nothing}>
      ${filtered ? html`No sweep is like that. <a href=${to("sweeps")}>Show all</a>` : html`There are no sweeps yet. <a href=${to("new", { kind: "sweep" })}>Submit the first one</a>`}
    <//>`}
    ${records?.length > 0 && html`<div class="wide"><table class="list stacked">
      <thead><tr><th>id</th><th>name</th><th class="figure">members</th><th>states</th><th>progress</th><th>submitted</th></tr></thead>
      <tbody>${records.map((record) => html`<${Row} key=${record.id} record=${record} />`)}</tbody>
    </table></div>`}
    <${Pages} newest=${cursor && to("sweeps", filters)} older=${content?.next && to("sweeps", { ...filters, cursor: content.next })} />`;
}

function Row({ record }) {
  return html`<tr>
    <td><${Id} id=${record.id} page="sweeps" /></td>
    <td class="name"><a href=${to(`sweeps/${record.id}`)}>${record.name}</a> <${Labels} labels=${record.labels} page="sweeps" /></td>
    <td class="figure">${record.members}</td>
    <td><${States} counts=${record.counts} /></td>
    <td><${SweepProgress} record=${record} /></td>
    <td><${Age} at=${record.created_at} /></td>
  </tr>`;
}

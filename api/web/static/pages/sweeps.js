// The list of sweeps.
import { html } from "../html.js";
import { Listing, Narrowed, Search } from "../listing.js";
import { Age, Id, Labels, useTitle } from "../parts.js";
import { to } from "../routing.js";
import { States, SweepProgress } from "../sweeping.js";

export function Sweeps({ query }) {
  useTitle("Sweeps");
  const filters = { label: query.getAll("label"), name: query.get("name"), id_prefix: query.get("id_prefix") };
  const go = (change) => (location.hash = to("sweeps", { ...filters, ...change }));
  return html`<${Listing}
    what="sweep" filters=${filters} cursor=${query.get("cursor")} goesOn=${({ ended }) => !ended} fresh=${{ kind: "sweep" }}
    narrow=${html`<${Search} filters=${filters} go=${go} /><${Narrowed} filters=${filters} name="label" go=${go} />`}
    heads=${html`<th>id</th><th>name</th><th class="figure">members</th><th>states</th><th>progress</th><th>submitted</th>`}
    row=${(record) => html`<${Row} key=${record.id} record=${record} />`}
  />`;
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

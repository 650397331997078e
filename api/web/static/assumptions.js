// The assumptions of the convergence theorem, before a run and after it.
import { html } from "./html.js";
import { Text } from "./parts.js";

const STANDING = {
  "by construction": "good", "met on measurement": "good", measured: "open", "not measured": "open", "not known": "open", undecided: "open",
  "not met on measurement": "bad", "not met": "bad",
};

/** The assumptions of the convergence theorem: whether each is met, and why. */
export function Assumptions({ assumptions }) {
  if (!assumptions.length) return null;
  return html`<div class="wide"><table class="list assumptions stacked">
    <thead><tr><th>assumption</th><th><span class="unseen">whether it is met</span></th><th><span class="unseen">why</span></th></tr></thead>
    <tbody>${assumptions.map(({ name, statement, status, reason }) => html`<tr>
      <th title=${statement}>${name}</th><td><span class=${`standing ${STANDING[status] ?? ""}`}>${status}</span></td><td class="reason"><${Text} text=${reason} /></td>
    </tr>`)}</tbody>
  </table></div>`;
}

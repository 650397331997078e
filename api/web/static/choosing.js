// Experiments that are chosen from a table to be compared.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { to } from "./routing.js";

export const MOST_COMPARED = 16;

/** The ids that are chosen, and what chooses one or leaves it again. */
export function useChosen() {
  const [chosen, choose] = useState([]);
  const toggle = (id) => choose(chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id]);
  return [chosen, toggle];
}

/** The link to their comparison, once there are two. */
export function CompareLink({ chosen }) {
  if (chosen.length < 2) return null;
  if (chosen.length > MOST_COMPARED) return html`<span class="faint">at most ${MOST_COMPARED} are compared</span>`;
  return html`<a class="button main" href=${to("compare", { id: chosen })}>Compare ${chosen.length}</a>`;
}

export const ChooseBox = ({ id, name, chosen, toggle }) =>
  html`<input type="checkbox" checked=${chosen.includes(id)} onChange=${() => toggle(id)} aria-label=${`compare ${name}`} />`;

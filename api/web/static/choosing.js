// Experiments that are chosen from a table to be compared.
import { useState } from "preact/hooks";
import { html } from "./html.js";
import { to } from "./routing.js";
import { ORIGIN } from "./service.js";

export const MOST_COMPARED = 16;

const CHOSEN = `bilevel-chosen ${ORIGIN}`;

/** The ids that are chosen, and what chooses one or leaves it again, or leaves all; kept by this tab of the browser. */
export function useChosen() {
  const [chosen, choose] = useState(() => JSON.parse(sessionStorage.getItem(CHOSEN) ?? "[]"));
  const keep = (ids) => {
    sessionStorage.setItem(CHOSEN, JSON.stringify(ids));
    choose(ids);
  };
  const toggle = (id) => keep(id === undefined ? [] : chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id]);
  return [chosen, toggle];
}

/** The link to their comparison, once there are two. */
export function CompareLink({ chosen, toggle }) {
  const none = html`<button class="quiet" onClick=${() => toggle()}>choose none</button>`;
  if (chosen.length === 0) return html`<span class="faint">Tick two or more to compare them.</span>`;
  if (chosen.length === 1) return html`<span class="faint">1 chosen, one more is needed to compare.</span> ${none}`;
  if (chosen.length > MOST_COMPARED) return html`<span class="faint">${chosen.length} chosen, at most ${MOST_COMPARED} are compared.</span> ${none}`;
  return html`<a class="button main" href=${to("compare", { id: chosen })}>Compare ${chosen.length}</a> ${none}`;
}

export const ChooseBox = ({ id, name, chosen, toggle }) =>
  html`<input type="checkbox" checked=${chosen.includes(id)} onChange=${() => toggle(id)} aria-label=${`compare ${name}`} />`;

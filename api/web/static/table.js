// A table that is sorted by the column whose head one presses, and shows so many rows at a time.
import { useState } from "preact/hooks";
import { html } from "./html.js";

const texts = new Intl.Collator("en", { numeric: true });

/** Of two values: numbers before texts, and what is not a number last, whichever way one sorts. */
function compared(a, b, falling) {
  const [left, right] = [a, b].map((value) => (typeof value === "number" ? (Number.isNaN(value) ? 2 : 0) : 1));
  if (left !== right) return left - right;
  if (left === 2) return 0;
  return (falling ? -1 : 1) * (left ? texts.compare(a, b) : a < b ? -1 : Number(a > b));
}

/**
 * A column is {title, show(row), value(row)?, figure?, about?}; one without `value` is not sorted by.
 *
 * `keyOf(row)` tells rows apart; `marked(row)` says which one stands out; `page` is how many are shown, and come at a press.
 */
export function Table({ columns, rows, keyOf, marked = () => false, page = 100 }) {
  const [{ place, falling }, sort] = useState({ place: null, falling: false });
  const [most, show] = useState(page);
  const by = columns[place]?.value;
  const sorted = by ? rows.map((row) => [by(row), row]).sort(([a], [b]) => compared(a, b, falling)).map(([, row]) => row) : rows;
  const press = (own) => sort(own !== place ? { place: own, falling: false } : falling ? { place: null, falling: false } : { place: own, falling: true });
  const order = (own) => (own !== place ? undefined : falling ? "descending" : "ascending");
  return html`
    <div class="wide"><table>
      <thead><tr>${columns.map(({ title, value, figure, about }, own) => html`<th class=${figure && "figure"} aria-sort=${order(own)} title=${about}>
        ${value ? html`<button class="sort" onClick=${() => press(own)}>${title}</button>` : html`<span class="unseen">${title}</span>`}
      </th>`)}</tr></thead>
      <tbody>${sorted.slice(0, most).map((row) => html`<tr key=${keyOf(row)} class=${marked(row) && "best"}>
        ${columns.map(({ show: cell, figure }) => html`<td class=${figure && "figure"}>${cell(row)}</td>`)}
      </tr>`)}</tbody>
    </table></div>
    ${rows.length > most && html`<p class="pages"><button onClick=${() => show(most + page)}>${Math.min(page, rows.length - most)} more of ${rows.length}</button></p>`}`;
}

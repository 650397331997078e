// A list of experiments or of sweeps: narrowed by filters, newest first, page by page, up to date.
import { html } from "./html.js";
import { LATER, SOON, usePolled } from "./live.js";
import { Nothing, Trouble } from "./parts.js";
import { to } from "./routing.js";

/**
 * The page of a list; `what` is experiment or sweep.
 *
 * `filters` are those of the address, `narrow` the elements that change them; `fresh` is the query of a new one, `actions` what stands
 * beside its link; `heads` and `row(record)` are those of the table; `goesOn(record)` says whether a record will change.
 */
export function Listing({ what, filters, cursor, goesOn, fresh, actions, narrow, heads, row }) {
  const place = `${what}s`;
  const pause = ({ items }) => (items.some(goesOn) ? SOON : LATER);
  const { content, error, refresh } = usePolled(place, { ...filters, cursor }, pause);
  const records = content?.items;
  const filtered = Object.values(filters).some((value) => value?.length);
  return html`
    <div class="head">
      <h1>${what === "sweep" ? "Sweeps" : "Experiments"}</h1>
      <div class="actions">${actions}<a class="button" href=${to("new", fresh)}>New ${what}</a></div>
    </div>
    <div class="filters">${narrow}</div>
    <${Trouble} error=${error} again=${refresh} />
    ${records?.length === 0 && html`<${Nothing}>
      ${filtered ? html`No ${what} is like that. <a href=${to(place)}>Show all</a>` : html`There are no ${place} yet. <a href=${to("new", fresh)}>Submit the first one</a>`}
    <//>`}
    ${records?.length > 0 && html`<div class="wide"><table class="list stacked">
      <thead><tr>${heads}</tr></thead>
      <tbody>${records.map(row)}</tbody>
    </table></div>`}
    <${Pages} newest=${cursor && to(place, filters)} older=${content?.next && to(place, { ...filters, cursor: content.next })} />`;
}

/** Links to the other pages of a list. */
function Pages({ newest, older }) {
  if (!newest && !older) return null;
  return html`<p class="pages">${newest && html`<a class="button" href=${newest}>Newest</a>`} ${older && html`<a class="button" href=${older}>Older</a>`}</p>`;
}

/** Looks for a name or, where the text is of hexadecimal digits and some of them are numerals, for an id. */
export function Search({ filters, go }) {
  const search = (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get("text").trim();
    const isId = /^[0-9a-f-]{6,}$/i.test(text) && /\d/.test(text);
    go({ name: isId ? null : text, id_prefix: isId ? text : null });
  };
  const shown = filters.name ?? filters.id_prefix ?? "";
  return html`<form role="search" onSubmit=${search}><input type="search" name="text" placeholder="name or id" aria-label="name or id" defaultValue=${shown} key=${shown} /></form>`;
}

/** What a list is narrowed to by a field, each to be taken away again. */
export function Narrowed({ filters, name, go }) {
  const without = (value) => go({ [name]: filters[name].filter((each) => each !== value) });
  return filters[name].map((value) => html`<button class="chip" aria-pressed="true" title="show others, too" onClick=${() => without(value)}>${value} ×</button>`);
}

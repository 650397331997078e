// A new experiment or sweep: its spec as text, beside it what it would take or what is wrong with it.
import { useMemo, useState } from "preact/hooks";
import { entriesOf, isSweep } from "../catalogue.js";
import { arrived, beginnings, keyOf, useDraft } from "../drafts.js";
import { Editor } from "../editor.js";
import { AtCaret } from "../explaining.js";
import { html } from "../html.js";
import { changed, pretty } from "../json.js";
import { repeatedly, sleep, usePolled, useWhileSeen } from "../live.js";
import { NotJson, places, rangeOf } from "../places.js";
import { Plan } from "../planning.js";
import { Nothing, Sure, Text, Trouble, useTitle } from "../parts.js";
import { to } from "../routing.js";
import { post } from "../service.js";

const TYPED = 0.4; // seconds without a change after which the plan is asked for

export function New({ query }) {
  const { content: catalog, error, refresh } = usePolled("catalog", {}, () => false);
  return html`<${Trouble} error=${error} again=${refresh} /><${Spec} key=${String(query)} query=${query} catalog=${catalog} />`;
}

function Spec({ query, catalog }) {
  const draft = useDraft(query, catalog);
  const { text } = draft;
  const [device, take] = useState("");
  const [mark, point] = useState(null);
  const [position, move] = useState(0);
  const entries = useMemo(() => (catalog ? entriesOf(catalog) : []), [catalog]);
  const read = useMemo(() => (text === null ? null : parsed(text)), [text]);
  const plan = usePlan(read?.wrong ? null : text, read?.place, device);
  const { submit, sending, refused } = useSubmission(text, read?.place, !(plan.error && plan.text === text), draft.forget);
  const select = (range) => {
    point({ range });
    move(range[0]);
  };
  const current = plan.text === text && plan.device === device;
  const what = read?.place === "sweeps" ? "sweep" : "experiment";
  useTitle(`New ${what}`);
  return html`
    <div class="head"><h1>New ${what}</h1><${Begin} catalog=${catalog} query=${query} draft=${draft} /></div>
    <${Trouble} error=${draft.error} />
    ${text !== null && html`<div class="drafting">
      <div class="text">
        <${Editor} text=${text} change=${draft.write} mark=${mark} submit=${submit ?? (() => {})} pointed=${move} />
        <div class="actions">
          <button class="main" disabled=${!submit || sending} onClick=${submit}>Submit the ${what}</button>
          <label>Plan for <select value=${device} onChange=${(event) => take(event.target.value)}>
            <option value="">the device of the spec</option><option>cpu</option><option>cuda</option>
          </select></label>
        </div>
        ${read.found && catalog && html`<${AtCaret} text=${text} found=${read.found} position=${position} entries=${entries} />`}
        ${refused?.text === text && html`<${Refused} error=${refused.error} />`}
      </div>
      <section class="outcome" aria-busy=${!current}>
        <${Outcome} read=${read} plan=${plan} current=${current} select=${select} use=${(set) => draft.write(`${pretty(changed(JSON.parse(text), set))}\n`)} />
      </section>
    </div>`}`;
}

/** A text as JSON: {place, found} with where every value stands, or {wrong}. */
function parsed(text) {
  try {
    const found = places(text);
    return { found, place: isSweep((name) => found.has(`/${name}`)) ? "sweeps" : "experiments" };
  } catch (wrong) {
    if (!(wrong instanceof NotJson)) throw wrong;
    return { wrong };
  }
}

/** What the service plans for a text and a device, {text, device, found, error}; the plan of another text stays until there is that of this one. */
function usePlan(text, place, device) {
  const [plan, tell] = useState({ text: null, found: null, error: null });
  useWhileSeen(async (signal) => {
    if (text === null) return;
    await sleep(TYPED, signal);
    const once = async () => {
      const found = await post(`${place}:plan`, text, { query: { device }, signal });
      tell({ text, device, found, error: null });
      return false;
    };
    await repeatedly(once, (error) => error && tell({ text, device, found: null, error }), signal);
  }, [text, place, device]);
  return plan;
}

/** `submit` sends the text, once however often it is called, and goes where it has become something; null where it cannot be sent. */
function useSubmission(text, place, possible, forget) {
  const [sending, send] = useState(false);
  const [refused, tell] = useState(null);
  const submit = async () => {
    send(true);
    try {
      const { id } = await post(place, text, { idempotencyKey: keyOf(text) });
      arrived();
      forget();
      location.hash = to(`${place}/${id}`);
    } catch (error) {
      tell({ text, error });
      send(false);
    }
  };
  return { submit: place && possible && !sending ? submit : null, sending, refused };
}

function Refused({ error }) {
  const unsure = error.status === 0 || error.status >= 500;
  return html`<div class="trouble" role="alert"><p><${Text} text=${error.message} /> ${unsure && "The text is kept; to submit it again does not submit it twice."}</p></div>`;
}

/** What the text begins from, and back to that. */
function Begin({ catalog, query, draft }) {
  const groups = catalog ? beginnings(catalog) : {};
  const [from, sweep, kind] = ["from", "sweep", "kind"].map((name) => query.get(name));
  const listed = Object.values(groups).flat().map(([value]) => value);
  const own = (from && `experiment ${from.slice(0, 8)}`) || (sweep && `sweep ${sweep.slice(0, 8)}`) || (kind && !listed.includes(kind) && kind);
  const go = (event) => event.target.value && (location.hash = to("new", { kind: event.target.value }));
  return html`<div class="actions">
    ${draft.changed && html`<${Sure} act=${draft.again} question="The text is thrown away.">Undo all changes<//>`}
    <label>Begin from <select value=${own ? "" : (kind ?? listed[0])} onChange=${go}>
      ${own && html`<option value="">${own}</option>`}
      ${Object.entries(groups).map(([name, options]) => html`<optgroup label=${name}>
        ${options.map(([value, label]) => html`<option value=${value}>${label}</option>`)}
      </optgroup>`)}
    </select></label>
  </div>`;
}

function Outcome({ read, plan, current, select, use }) {
  if (read.wrong) {
    const { message, range } = read.wrong;
    return html`<div class="trouble"><p>This is not JSON yet. <button class="link" onClick=${() => select(range)}>${message}</button></p></div>`;
  }
  if (!plan.found && !plan.error) return html`<${Nothing}>Planning …<//>`;
  return html`<div class=${current ? "" : "outdated"}>
    ${plan.found ? html`<${Plan} plan=${plan.found} use=${use} />` : html`<${Faults} error=${plan.error} found=${read.found} select=${select} />`}
  </div>`;
}

/** Why it cannot be, field by field; where a field is not there, what it should stand in is selected. */
function Faults({ error, found, select }) {
  if (!error.errors.length) return html`<${Trouble} error=${error} />`;
  const place = (pointer) => html`<button class="link" onClick=${() => select(rangeOf(found, pointer))}><code>${pointer || "the whole"}</code></button>`;
  return html`<div class="trouble" role="status">
    <p>It cannot be submitted like this:</p>
    <ul>${error.errors.map(({ pointer, parameter, detail }) => html`<li>
      ${pointer === undefined ? html`<code>${parameter}</code>` : place(pointer)} <${Text} text=${detail} />
    </li>`)}</ul>
  </div>`;
}

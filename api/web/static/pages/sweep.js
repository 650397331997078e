import { html } from "../html.js";

export const Sweep = () => html`<p>not yet</p>`;

import { html } from "../html.js";

export const Sweeps = () => html`<p>not yet</p>`;

import { html } from "../html.js";

export const Catalog = () => html`<p>not yet</p>`;

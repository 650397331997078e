import { html } from "../html.js";

export const Compare = () => html`<p>not yet</p>`;

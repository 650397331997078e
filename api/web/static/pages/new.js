import { html } from "../html.js";

export const New = () => html`<p>not yet</p>`;

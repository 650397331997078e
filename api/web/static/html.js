// Templates: html`<p>${text}</p>` makes elements of Preact, which writes text as text and never as markup.
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);

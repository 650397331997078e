// A text area for JSON: Tab indents, Escape and then Tab leaves it, places in it can be selected and seen.
import { useEffect, useRef } from "preact/hooks";
import { html } from "./html.js";

/** `mark` is {range: [from, to]}: a new one is selected; `submit` is called on Ctrl+Enter, `pointed` with the position of the caret. */
export function Editor({ text, change, mark, submit, pointed }) {
  const area = useRef(null), leaving = useRef(false);
  useEffect(() => {
    if (mark) select(area.current, mark.range);
  }, [mark]);
  const typed = (event) => {
    const left = leaving.current;
    leaving.current = event.key === "Escape" || (left && event.key === "Shift");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      submit();
    } else if (event.key === "Tab" && !left && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      document.execCommand("insertText", false, "  "); // what else there is takes undoing away
    }
  };
  const told = (event) => pointed(event.target.selectionStart);
  return html`<textarea class="editor" ref=${area} value=${text} wrap="off" spellcheck=${false} autocapitalize="off" autocomplete="off"
    aria-label="Spec, as JSON" aria-describedby="editor-keys" onInput=${(event) => change(event.target.value)} onKeyDown=${typed}
    onKeyUp=${told} onClick=${told} onBlur=${() => (leaving.current = false)} />
    <p class="faint" id="editor-keys">Tab indents; Escape, then Tab leaves the text. Ctrl+Enter submits.</p>`;
}

/** Selects a range and brings its line to the middle. */
function select(area, [from, to]) {
  area.focus();
  area.setSelectionRange(from, to);
  const line = area.value.slice(0, from).split("\n").length - 1;
  const start = area.value.lastIndexOf("\n", from - 1) + 1;
  const style = getComputedStyle(area);
  area.scrollTop = line * parseFloat(style.lineHeight) - area.clientHeight / 2;
  area.scrollLeft = (from - start) * 0.6 * parseFloat(style.fontSize) - area.clientWidth / 2;
}

// Where things stand in the text of a spec: what is wrong with it as JSON, and the range of every value by its JSON pointer.

const TOKEN = /("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|true\b|false\b|null\b|[[\]{},:])/y;
const DEEPEST = 100;
const SPACE = /[ \t\r\n]*/y;

/** What is not JSON, and where. */
export class NotJson extends Error {
  constructor(wanted, text, position) {
    const before = text.slice(0, position).split("\n");
    const found = position < text.length ? `not \`${text.slice(position).match(/^\w+|./su)[0]}\`` : "but the text ends";
    super(`${wanted} is wanted at line ${before.length}, column ${before.at(-1).length + 1}, ${found}.`);
    this.range = [position, Math.min(position + 1, text.length)];
  }
}

/** Ranges [from, to, where its name begins] of all values by their pointers, "" for the whole. Throws NotJson. */
export function places(text) {
  const found = new Map();
  let at = 0;
  const skip = () => {
    SPACE.lastIndex = at;
    at += SPACE.exec(text)[0].length;
  };
  const next = (wanted, fits) => {
    skip();
    TOKEN.lastIndex = at;
    const token = TOKEN.exec(text)?.[1];
    if (token === undefined || !fits(token)) throw new NotJson(wanted, text, at);
    at += token.length;
    return token;
  };
  const ahead = (mark) => {
    skip();
    return text[at] === mark;
  };
  const members = (close, one) => {
    if (ahead(close)) return next(close, (token) => token === close);
    for (let place = 0; ; place += 1) {
      one(place);
      if (next(`A comma or ${close}`, (token) => token === "," || token === close) === close) return close;
    }
  };
  const value = (pointer, named, depth = 0) => {
    skip();
    const from = at;
    if (depth > DEEPEST) throw new NotJson(`Less than ${DEEPEST} objects in each other`, text, at);
    const token = next("A value", (each) => !"]},:".includes(each));
    if (token === "[") members("]", (place) => value(`${pointer}/${place}`, undefined, depth + 1));
    if (token === "{") {
      members("}", () => {
        skip();
        const start = at;
        const name = JSON.parse(next("A name in double quotes", (each) => each.startsWith('"')));
        next("A colon", (each) => each === ":");
        value(`${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`, start, depth + 1);
      });
    }
    found.set(pointer, [from, at, named ?? from]);
  };
  value("");
  skip();
  if (at < text.length) throw new NotJson("The end", text, at);
  return found;
}

const parent = (pointer) => pointer.slice(0, pointer.lastIndexOf("/"));

/** The range of the value that a pointer names or, where it is missing, of what it should stand in. */
export function rangeOf(found, pointer) {
  for (let each = pointer; each; each = parent(each)) if (found.has(each)) return found.get(each);
  return found.get("");
}

/** The pointer of the smallest value around a position; a field's name belongs to its value. */
export function pointerAt(found, position) {
  let best = "", least = Infinity;
  for (const [pointer, [, to, from]] of found) {
    if (from <= position && position <= to && to - from < least) [best, least] = [pointer, to - from];
  }
  return best;
}

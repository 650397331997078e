// Addresses of pages: what stands behind # is a path and a query, such as #/experiments?status=running.
import { useEffect, useState } from "preact/hooks";

/** The page that the address names: its path in parts, and its query. */
function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a % that stands for itself
  }
}

/** A query as it stands in an address, with its question mark; values that are empty are left out, lists are repeated. */
export function search(query) {
  const pairs = Object.entries(query).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
  const text = new URLSearchParams(pairs.filter(([, each]) => each !== undefined && each !== null && each !== "")).toString();
  return text && `?${text}`;
}

/** The address of a page. */
export const to = (path, query = {}) => `#/${path}${search(query)}`;

/** Where we are, told again whenever that changes. */
export function useRoute() {
  const [route, tell] = useState(here);
  useEffect(() => {
    const changed = () => tell(here());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

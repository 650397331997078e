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

/** The address of a page; values of the query that are empty are left out, lists are repeated. */
export function to(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) if (each !== undefined && each !== null && each !== "") search.append(name, each);
  }
  const text = search.toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

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

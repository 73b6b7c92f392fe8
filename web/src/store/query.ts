/** The query of the page's URL, which holds what is being looked at. */

export function readQuery(name: string): string {
  return new URLSearchParams(window.location.search).get(name) ?? "";
}

/** Set what is named and leave the rest as it is; what is empty is taken out. No entry in the browser's history. */
export function writeQuery(params: Readonly<Record<string, string>>): void {
  const url = new URL(window.location.href);
  for (const [name, value] of Object.entries(params)) {
    if (value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  // A comma may stand in a query (RFC 3986, 3.4), and reads better than %2C.
  window.history.replaceState(null, "", url.href.replaceAll("%2C", ","));
}

/** The query of the page's URL, which stores the current view. */

export function readQuery(name: string): string {
  return new URLSearchParams(window.location.search).get(name) ?? "";
}

/**
 * Set parameters of the query; an empty value removes its parameter. Other parameters are kept.
 * Adds no entry to the browser's history.
 */
export function writeQuery(params: Readonly<Record<string, string>>): void {
  const url = new URL(window.location.href);
  for (const [name, value] of Object.entries(params)) {
    if (value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  // A comma is valid in a query (RFC 3986, 3.4) and more readable than %2C.
  window.history.replaceState(null, "", url.href.replaceAll("%2C", ","));
}

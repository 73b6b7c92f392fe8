/** What the specification's page leaves out: an icon, and the rest of its user interface, here the bare state. */

export function RefreshCw({ className }: { className: string }) {
  return <svg data-testid="seed-loading" className={className} />;
}

export function RestOfUi({ status }: { status: unknown }) {
  return <pre data-testid="seed-status">{JSON.stringify(status)}</pre>;
}

/** The parts that the original page leaves out: an icon and the rest of its UI, here a JSON text. */

export function RefreshCw({ className }: { className: string }) {
  return <svg data-testid="original-loading" className={className} />;
}

export function RestOfUi({ status }: { status: unknown }) {
  return <pre data-testid="original-status">{JSON.stringify(status)}</pre>;
}

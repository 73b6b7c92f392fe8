/** The logo: a pulse line that ends in a dot. */
export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 40 24" aria-hidden="true">
      <path
        d="M1.5 14h8.5l4-10 6.5 17 4-10.5 1.6 3.5H31"
        fill="none"
        stroke="currentColor"
        stroke-width="2.25"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
      <circle cx="35" cy="14" r="3" fill="currentColor" />
    </svg>
  );
}

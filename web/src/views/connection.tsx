/** The state of the connection, and the time since the last frame. */

import type { Store } from "../store/store";
import type { ConnectionStatus } from "../stream/connection";
import { Age } from "./age";

const WORDS: Record<ConnectionStatus, string> = {
  connected: "Connected",
  reconnecting: "Reconnecting",
  disconnected: "Disconnected",
};

export function Connection({ store }: { store: Store }) {
  const { status, opened } = store.board.freshness.connection.value;
  const word = status === "reconnecting" && opened === 0 ? "Connecting" : WORDS[status];
  return (
    <div class="connection" data-testid="connection" data-status={status}>
      <Shape status={status} />
      <span class="connection-word" role="status">
        {word}
      </span>
      <LastFrame store={store} />
    </div>
  );
}

function LastFrame({ store }: { store: Store }) {
  const at = store.lastFrameAt.value;
  if (at === null) return null;
  return (
    <span class="connection-age" title="The last message from the server">
      <span class="connection-label">last data </span>
      <Age at={at} clock={store.board.clock} />
    </span>
  );
}

function Shape({ status }: { status: ConnectionStatus }) {
  return (
    <svg class="glyph connection-shape" viewBox="0 0 12 12" aria-hidden="true">
      {status === "connected" && (
        <>
          <circle
            cx="6"
            cy="6"
            r="5"
            fill="none"
            stroke="currentColor"
            stroke-width="1.2"
            opacity="0.5"
          />
          <circle cx="6" cy="6" r="2.75" fill="currentColor" />
        </>
      )}
      {status === "reconnecting" && (
        <path
          d="M10.5 6A4.5 4.5 0 1 1 6 1.5"
          fill="none"
          stroke="currentColor"
          stroke-width="1.75"
          stroke-linecap="round"
        />
      )}
      {status === "disconnected" && (
        <path
          d="M6 1.25a4.75 4.75 0 1 0 0 9.5 4.75 4.75 0 0 0 0-9.5zM2.7 9.3l6.6-6.6"
          fill="none"
          stroke="currentColor"
          stroke-width="1.6"
        />
      )}
    </svg>
  );
}

/** What an instance said last before it was lost. */

import { formatClockTime, formatFullTime } from "../lib/format";
import type { Store } from "../store/store";
import type { LogLine } from "../wire/message";
import { Field } from "./field";

export function LastWords({ store }: { store: Store }) {
  const { board, incidents } = store;
  const said = incidents.said.value;
  if (said === null) return null;
  return (
    <div class="last-words" data-testid="last-words">
      {said.kind === "reading" && <p class="card-note">Reading its last words …</p>}
      {said.kind === "forgotten" && <p class="card-note">Its last words are no longer kept.</p>}
      {said.kind === "failed" && (
        <p class="card-note" role="alert">
          Its last words could not be read: {said.reason}.{" "}
          <button type="button" class="more" onClick={() => void incidents.ask()}>
            try again
          </button>
        </p>
      )}
      {said.kind === "there" && (
        <>
          <p class="card-note">
            Its last words, at{" "}
            <time title={formatFullTime(said.timestamp)}>{formatClockTime(said.timestamp)}</time> by its own
            clock
          </p>
          <dl class="fields">
            {said.fields.rows.value.map((row) => (
              <Field key={row.path} row={row} clock={board.clock} />
            ))}
          </dl>
          <LastLines lines={said.lines} />
        </>
      )}
    </div>
  );
}

function LastLines({ lines }: { lines: LogLine[] }) {
  if (lines.length === 0) return null;
  return (
    <>
      <p class="card-note">The last lines of its log</p>
      <ol class="last-lines" data-testid="last-lines">
        {lines.map((line) => (
          <li key={line.id} data-level={line.level}>
            <time title={formatFullTime(line.timestamp)}>{formatClockTime(line.timestamp)}</time>
            <span class="last-line-level">{line.level}</span>
            <span class="last-line-text">
              {line.message}
              {line.traceback !== "" && <pre>{line.traceback}</pre>}
            </span>
          </li>
        ))}
      </ol>
    </>
  );
}

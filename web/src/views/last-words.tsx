/** The last words of a lost instance: its last status and log lines. */

import { formatClockTime, formatFullTime } from "../lib/format";
import type { Store } from "../store/store";
import type { LogLine } from "../wire/message";
import { Field } from "./field";

export function LastWords({ store }: { store: Store }) {
  const { board, incidents } = store;
  const words = incidents.lastWords.value;
  if (words === null) return null;
  return (
    <div class="last-words" data-testid="last-words">
      {words.kind === "loading" && <p class="card-note">Loading its last words …</p>}
      {words.kind === "expired" && <p class="card-note">Its last words are no longer kept.</p>}
      {words.kind === "failed" && (
        <p class="card-note" role="alert">
          Its last words could not be loaded: {words.reason}.{" "}
          <button type="button" class="more" onClick={() => void incidents.load()}>
            retry
          </button>
        </p>
      )}
      {words.kind === "loaded" && (
        <>
          <p class="card-note">
            Its last words, at{" "}
            <time title={formatFullTime(words.timestamp)}>{formatClockTime(words.timestamp)}</time>{" "}
            by its own clock
          </p>
          <dl class="fields">
            {words.fields.rows.value.map((row) => (
              <Field key={row.path} row={row} clock={board.clock} />
            ))}
          </dl>
          <LastLines lines={words.lines} />
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

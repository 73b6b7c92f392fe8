/** The empty board: how to publish a first status. */

import { useEffect, useState } from "preact/hooks";

const PYTHON = `from pulseboard import Service

with Service("my-service", heartbeat_s=5) as service:
    service.update(isRunning=True)
    service.update(done=1)`;

const SHELL = `redis-cli PUBLISH service:my-service '{"service":"my-service","timestamp":1700000000000,"status":{"isRunning":true}}'`;

export function Empty() {
  return (
    <div class="notice" data-testid="empty">
      <h2>No status published yet</h2>
      <p>The board is connected. A service appears when it publishes its first status.</p>
      <Snippet title="From Python" code={PYTHON} />
      <Snippet title="From any program" code={SHELL} />
    </div>
  );
}

function Snippet({ title, code }: { title: string; code: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code);
      setCopied(true);
    } catch {
      // Browsers offer no clipboard over http. The text can still be selected.
    }
  };
  return (
    <figure class="snippet">
      <figcaption>
        {title}
        <button type="button" class="more" onClick={copy}>
          <span role="status">{copied ? "copied" : "copy"}</span>
        </button>
      </figcaption>
      <pre>
        <code>{code}</code>
      </pre>
    </figure>
  );
}

"""Which requests does an open page send to the server while services publish?

Starts a Valkey, `pulseboard serve` and a Chromium with the real page. For a minute three services
update several times a second and send heartbeats, and a fourth program publishes external messages.
Lists every request of the browser since the page was opened, by kind. Exits with 1 unless there was
exactly one stream, and no other request after the page was complete.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis
from playwright.sync_api import expect

from benchmarks._environment import browsing, print_head, print_table, run_server
from pulseboard import Service

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

NAMES = ("balance-sync", "account-discovery", "account-enrichment")
EXTERNAL_MESSAGE = '{"service":"night-report","timestamp":1765600000000,"status":{"pages":%d}}'


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="duration (default: 60)")
    seconds = parser.parse_args().seconds
    print_head(__doc__)
    requests: list[tuple[float, Request]] = []
    with run_server("--expect", ",".join(NAMES)) as server, browsing("about:blank") as page:
        page.on("request", lambda request: requests.append((time.monotonic(), request)))
        messages = count_messages(page)
        page.goto(f"http://127.0.0.1:{server.port}/services")
        services = [
            Service(name, heartbeat_s=1, redis_url=server.address.url, instance="bench").start()
            for name in NAMES
        ]
        expect(page.locator("[data-testid=card][data-state=alive]")).to_have_count(len(NAMES))
        completed = time.monotonic()
        sent = 0
        with redis.Redis(host=server.address.host, port=server.address.port, protocol=2) as client:
            while time.monotonic() - completed < seconds:
                for service in services:
                    service.update(done=sent, isRunning=sent % 2 == 0)
                client.publish("service:night-report", EXTERNAL_MESSAGE % sent)
                sent += 1
                page.wait_for_timeout(250)
        for service in services:
            expect(
                page.locator(f"[data-service={service.name}] [data-field=done] [data-value]")
            ).to_have_text(f"{sent - 1:,}")
            service.stop()
    kinds = Counter(kind_of(request) for _, request in requests)
    late = Counter(kind_of(request) for at, request in requests if at > completed)
    streams, others = kinds.pop("stream", 0), kinds.pop(OTHER, 0)
    rows = [("stream", streams, late["stream"]), (OTHER, others, late[OTHER])]
    rows += [(kind, count, late[kind]) for kind, count in sorted(kinds.items())]
    print_table(["requests", "total", f"in the {seconds:g} s after"], rows)
    print(
        f"\n{messages['message']} messages arrived on the stream; "
        f"{(len(NAMES) + 1) * sent} updates were published"
    )
    good = streams == 1 and others == 0 and not late
    print("One stream, no polling: met" if good else "One stream, no polling: MISSED")
    return 0 if good else 1


OTHER = "other request to the server"


def kind_of(request: Request) -> str:
    if urlsplit(request.url).path == "/api/stream":
        return "stream"
    if request.resource_type in ("fetch", "xhr", "eventsource", "ping") or "/api/" in request.url:
        return OTHER
    return f"page: {request.resource_type}"


def count_messages(page: Page) -> Counter[str]:
    counts: Counter[str] = Counter()
    session = page.context.new_cdp_session(page)
    session.on("Network.eventSourceMessageReceived", lambda _: counts.update(["message"]))
    session.send("Network.enable")
    return counts


if __name__ == "__main__":
    sys.exit(main())

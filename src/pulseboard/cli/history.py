"""`pulseboard history`."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from rich.text import Text

from pulseboard.cli.api import Api, segment
from pulseboard.cli.moment import Moment
from pulseboard.cli.notices import Notices
from pulseboard.cli.output_style import format_clock, format_fields, format_iso, open_console, safe
from pulseboard.wire.cursor import Cursor

DEFAULT_EVENTS = 20
PAGE = 1_000


class _Event(msgspec.Struct):
    id: str
    status: dict[str, Any]
    instance: str = ""
    stopped: bool = False
    back_in_s: float | None = None

    @property
    def kind(self) -> str:
        """The kind of this event: `status`, or a graceful stop with its planned return."""
        if not self.stopped:
            return "status"
        return "stopped" if self.back_in_s is None else f"stopped, back in {self.back_in_s:g}s"


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]
    before: str | None


async def show_history(
    server: str,
    service: str,
    since: Moment | None,
    until: Moment | None,
    count: int | None,
    *,
    json: bool,
) -> int:
    """Print the last `count` statuses of a service (None: all), oldest first."""
    console, shown = open_console(), 0
    previous: dict[str, dict[str, Any]] = {}
    async with Api(server) as api:
        relative = [
            moment for moment in (since, until) if moment is not None and moment.ago_ms is not None
        ]
        now_ms = await api.now_ms() if relative else 0
        span = {
            "from_": None if since is None else since.ms(now_ms),
            "to": None if until is None else until.ms(now_ms),
        }
        async with aclosing(_events(api, service, span, count)) as events:
            async for text in events:
                shown += 1
                if json:
                    print(text.decode())
                    continue
                event = msgspec.json.decode(text, type=_Event)
                if console.is_terminal:
                    console.print(_draw(event, previous.get(event.instance, {})), soft_wrap=True)
                    previous[event.instance] = event.status
                else:
                    columns = (
                        format_iso(Cursor.parse(event.id).ms),
                        safe(event.instance) or "-",
                        event.kind,
                    )
                    print("  ".join((*columns, format_fields(event.status))).rstrip())
    sys.stdout.flush()
    if not shown:
        Notices().remark("no status is kept")
    return 0


async def _events(
    api: Api, service: str, span: dict[str, int | None], count: int | None
) -> AsyncGenerator[bytes, None]:
    path = f"/api/services/{segment(service)}/history"
    if count is None:
        async with aclosing(api.lines(path, **span)) as lines:
            async for line in lines:
                yield line
        return
    pages: list[list[msgspec.Raw]] = []
    place: str | None = None
    left = count
    while left > 0:
        body = await api.get(path, **span, before=place, limit=min(left, PAGE))
        page = msgspec.json.decode(body, type=_Page)
        pages.append(page.events)
        left -= len(page.events)
        place = page.before
        if place is None:
            break
    for events in reversed(pages):
        for event in events:
            yield bytes(event)


def _draw(event: _Event, previous: dict[str, Any]) -> Text:
    """Return a line in which unchanged fields are dimmed."""
    text = Text.assemble(
        (format_clock(Cursor.parse(event.id).ms), "dim"), "  ", safe(event.instance) or "-", "  "
    )
    if event.stopped:
        text.append(f"{event.kind}  ", "blue")
    for name, value in event.status.items():
        unchanged = name in previous and previous[name] == value
        text.append(f"{format_fields({name: value})} ", "dim" if unchanged else "")
    text.rstrip()
    return text

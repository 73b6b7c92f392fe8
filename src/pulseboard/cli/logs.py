"""`pulseboard logs`."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

import msgspec
from rich.text import Text

from pulseboard.cli.api import Api, segment
from pulseboard.cli.live import Away, Live, Message
from pulseboard.cli.moment import Moment
from pulseboard.cli.notices import Notices
from pulseboard.cli.output_style import (
    LEVEL_STYLES,
    format_clock,
    format_fields,
    format_iso,
    open_console,
    safe,
)
from pulseboard.cli.pipe import check_reader
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import ServerRefused, ServerUnreachable
from pulseboard.wire.events.log import LinePlace

DEFAULT_LINES = 100
PAGE = 1_000


class Line(msgspec.Struct, omit_defaults=True):
    """One line, from history or live."""

    id: str
    timestamp: int
    level: str
    message: str
    service: str = ""
    instance: str = ""
    logger: str = ""
    fields: dict[str, object] = {}
    traceback: str = ""
    dropped: int = 0

    @property
    def place(self) -> LinePlace:
        return LinePlace.parse(self.id)


class _Page(msgspec.Struct):
    lines: list[Line]
    before: str | None


class _Batch(msgspec.Struct):
    service: str
    instance: str
    lines: list[Line]
    dropped: int = 0


class Wanted(NamedTuple):
    """Which lines: of one service or (None) all, of a level and above, with a text in them, since a moment; the `latest` of them
    (None: all).
    """

    service: str | None
    level: str | None
    contains: str | None
    since: Moment | None
    latest: int | None

    @property
    def path(self) -> str:
        return f"/api/services/{segment(self.service)}/logs" if self.service else "/api/logs"

    @property
    def filter(self) -> dict[str, str | int | None]:
        return {"level": self.level, "contains": self.contains}


async def show_logs(server: str, wanted: Wanted, *, follow: bool, json: bool) -> int:
    """Print lines of log, and with `follow` those that come, until Ctrl-C."""
    notices = Notices()
    show = _Printer(notices, named=wanted.service is None, json=json)
    async with Api(server) as api:
        since_ms = await _since_ms(api, wanted.since)
        if follow:
            await _follow(api, wanted, since_ms, show, notices)
        else:
            await _print_past(api, wanted, since_ms, None, show)
            if not show.shown:
                notices.remark("no lines")
    return 0


async def _since_ms(api: Api, since: Moment | None) -> int | None:
    return (
        None if since is None else since.ms(await api.now_ms() if since.ago_ms is not None else 0)
    )


async def _print_past(
    api: Api, wanted: Wanted, since_ms: int | None, until: Cursor | None, show: "_Printer"
) -> None:
    """Print what is in history, up to the entry `until`."""
    if wanted.latest is not None:
        for line in await _last_lines(api, wanted, since_ms, until, wanted.latest):
            show.line(line)
    else:
        async with aclosing(_all_lines(api, wanted, since_ms, until)) as lines:
            async for line in lines:
                show.line(line)
    show.flush()


async def _last_lines(
    api: Api, wanted: Wanted, since_ms: int | None, until: Cursor | None, count: int
) -> list[Line]:
    before = None if until is None else f"{until.ms}-{until.seq + 1}.0"
    pages: list[list[Line]] = []
    left = count
    while left > 0:
        query = {"from_": since_ms, "before": before, "limit": min(left, PAGE)}
        page = msgspec.json.decode(await api.get(wanted.path, **wanted.filter, **query), type=_Page)
        pages.append(page.lines)
        left -= len(page.lines)
        before = page.before
        if before is None:
            break
    return [line for page in reversed(pages) for line in page]


async def _all_lines(
    api: Api, wanted: Wanted, since_ms: int | None, until: Cursor | None
) -> AsyncGenerator[Line, None]:
    end_ms = None if until is None else until.ms
    async with aclosing(
        api.lines(wanted.path, **wanted.filter, from_=since_ms, to=end_ms)
    ) as exported:
        async for text in exported:
            line = msgspec.json.decode(text, type=Line)
            if until is None or line.place.cursor <= until:
                yield line


async def _follow(
    api: Api, wanted: Wanted, since_ms: int | None, show: "_Printer", notices: Notices
) -> None:
    """Print history up to where the stream begins, and from there what comes; after a gap, history again."""
    live = Live(api, {"kinds": "log", "services": wanted.service, **wanted.filter})
    last: LinePlace | None = None  # up to here everything was printed
    async with aclosing(live.read()) as items:
        async for item in items:
            if isinstance(item, Away) and not live.opened:
                raise ServerUnreachable(item.reason)
            notices.follow(item)
            check_reader()
            if isinstance(item, Away):
                continue
            match item.event:
                case "board":
                    here = Cursor.parse(item.id)
                    try:
                        if last is None:
                            await _print_past(api, wanted, since_ms, here, show)
                        else:
                            await _fill(api, wanted, last, here, show, notices)
                    except ServerRefused as error:
                        if error.code != "unknown-service":
                            raise
                        notices.remark(f"{error} Waiting for it")  # it may be about to start
                    last = LinePlace(here, sys.maxsize)
                case "log" if last is not None:
                    last = _print_batch(item, last, show)
                case "skipped" | "reset":
                    notices.remark(f"{_gap(item)}; reading them from history")
                case _:
                    pass
            show.flush()


def _print_batch(message: Message, last: LinePlace, show: "_Printer") -> LinePlace:
    batch = msgspec.json.decode(message.data, type=_Batch)
    show.dropped(batch.dropped, batch.service)
    for line in batch.lines:
        if (place := line.place) > last:
            line.service, line.instance = batch.service, batch.instance
            show.line(line)
            last = place
    return last


async def _fill(
    api: Api, wanted: Wanted, last: LinePlace, here: Cursor, show: "_Printer", notices: Notices
) -> None:
    count = 0
    if last.cursor < here:
        async with aclosing(_all_lines(api, wanted, last.cursor.ms, here)) as lines:
            async for line in lines:
                if line.place > last:
                    show.line(line)
                    count += 1
    show.flush()
    notices.remark(
        f"{count:,} line{'' if count == 1 else 's'} read from history; what it no longer held is missing"
    )


def _gap(message: Message) -> str:
    told = message.read()
    count = told.get("skipped", {}).get("log")
    return (
        f"{count:,} lines skipped: {told['reason']}"
        if count
        else f"lines may have been missed: {told['reason']}"
    )


class _Printer:
    def __init__(self, notices: Notices, *, named: bool, json: bool) -> None:
        self._notices = notices
        self._console = open_console()
        self._named = named
        self._json = json
        self._pretty = self._console.is_terminal and not json
        self.shown = 0

    def line(self, line: Line) -> None:
        self.shown += 1
        self.dropped(line.dropped, line.service)
        if self._pretty:
            self._console.print(self._draw(line), soft_wrap=True)
        elif self._json:
            print(msgspec.json.encode(line).decode())
        else:
            print(self._plain(line))

    def dropped(self, count: int, service: str) -> None:
        """Say how many lines a service dropped here."""
        if count:
            self.flush()
            self._notices.remark(f"{count:,} line{'' if count == 1 else 's'} dropped by {service}")

    def flush(self) -> None:
        sys.stdout.flush()

    def _draw(self, line: Line) -> Text:
        style = LEVEL_STYLES.get(line.level, "")
        text = Text.assemble(
            (format_clock(line.timestamp), "dim"), "  ", (f"{line.level:<8}", style), "  "
        )
        if self._named:
            text.append(f"{safe(line.service):<18}  ", "cyan")
        if line.logger:
            text.append(f"{safe(line.logger)}: ", "dim")
        # Lines of a message stand below each other, further in; nothing else of it moves the cursor.
        first, *more = line.message.splitlines() or [""]
        text.append(safe(first), "bold" if line.level in ("error", "critical") else "")
        if line.fields:
            text.append(f"  {format_fields(line.fields)}", "cyan dim")
        for below in (*more, *line.traceback.splitlines()):
            text.append(f"\n    {safe(below)}", "dim")
        return text

    def _plain(self, line: Line) -> str:
        message = (
            f"{safe(line.logger)}: {safe(line.message)}" if line.logger else safe(line.message)
        )
        columns = [
            format_iso(line.timestamp),
            f"{line.level:<8}",
            f"{line.service:<18}",
            safe(line.instance) or "-",
            message,
        ]
        fields = line.fields | ({"traceback": line.traceback} if line.traceback else {})
        return "  ".join([*columns, format_fields(fields)] if fields else columns)

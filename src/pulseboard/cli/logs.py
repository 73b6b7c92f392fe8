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
from pulseboard.cli.pipe import check_output_pipe
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import ServerRefused, ServerUnreachable
from pulseboard.wire.events.log import LinePosition

DEFAULT_LINES = 100
PAGE = 1_000


class Line(msgspec.Struct, omit_defaults=True):
    """One line, from history or from the stream."""

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
    def place(self) -> LinePosition:
        return LinePosition.parse(self.id)


class _Page(msgspec.Struct):
    lines: list[Line]
    before: str | None


class _Batch(msgspec.Struct):
    service: str
    instance: str
    lines: list[Line]
    dropped: int = 0


class LogSelection(NamedTuple):
    """The lines to print: service (None: all), minimum level, text, and start.

    `latest` is the number of lines, counted from the end (None: all).
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


async def show_logs(server: str, selection: LogSelection, *, follow: bool, json: bool) -> int:
    """Print log lines; with `follow`, continue with new lines until Ctrl-C."""
    notices = Notices()
    printer = _Printer(notices, named=selection.service is None, json=json)
    async with Api(server) as api:
        since_ms = await _since_ms(api, selection.since)
        if follow:
            await _follow(api, selection, since_ms, printer, notices)
        else:
            await _print_history(api, selection, since_ms, None, printer)
            if not printer.shown:
                notices.remark("no lines")
    return 0


async def _since_ms(api: Api, since: Moment | None) -> int | None:
    return (
        None if since is None else since.ms(await api.now_ms() if since.ago_ms is not None else 0)
    )


async def _print_history(
    api: Api,
    selection: LogSelection,
    since_ms: int | None,
    until: Cursor | None,
    printer: "_Printer",
) -> None:
    """Print lines from history, up to the entry `until`."""
    if selection.latest is not None:
        for line in await _last_lines(api, selection, since_ms, until, selection.latest):
            printer.line(line)
    else:
        async with aclosing(_all_lines(api, selection, since_ms, until)) as lines:
            async for line in lines:
                printer.line(line)
    printer.flush()


async def _last_lines(
    api: Api, selection: LogSelection, since_ms: int | None, until: Cursor | None, count: int
) -> list[Line]:
    before = None if until is None else f"{until.ms}-{until.seq + 1}.0"
    pages: list[list[Line]] = []
    left = count
    while left > 0:
        query = {"from_": since_ms, "before": before, "limit": min(left, PAGE)}
        page = msgspec.json.decode(
            await api.get(selection.path, **selection.filter, **query), type=_Page
        )
        pages.append(page.lines)
        left -= len(page.lines)
        before = page.before
        if before is None:
            break
    return [line for page in reversed(pages) for line in page]


async def _all_lines(
    api: Api, selection: LogSelection, since_ms: int | None, until: Cursor | None
) -> AsyncGenerator[Line, None]:
    end_ms = None if until is None else until.ms
    async with aclosing(
        api.lines(selection.path, **selection.filter, from_=since_ms, to=end_ms)
    ) as exported:
        async for text in exported:
            line = msgspec.json.decode(text, type=Line)
            if until is None or line.place.cursor <= until:
                yield line


async def _follow(
    api: Api, selection: LogSelection, since_ms: int | None, printer: "_Printer", notices: Notices
) -> None:
    """Print history up to the start of the stream, then the stream; fill gaps from history."""
    live = Live(api, {"kinds": "log", "services": selection.service, **selection.filter})
    last: LinePosition | None = None  # everything up to this line is printed
    async with aclosing(live.read()) as items:
        async for item in items:
            if isinstance(item, Away) and not live.opened:
                raise ServerUnreachable(item.reason)
            notices.follow(item)
            check_output_pipe()
            if isinstance(item, Away):
                continue
            match item.event:
                case "board":
                    here = Cursor.parse(item.id)
                    try:
                        if last is None:
                            await _print_history(api, selection, since_ms, here, printer)
                        else:
                            await _fill(api, selection, last, here, printer, notices)
                    except ServerRefused as error:
                        if error.code != "unknown-service":
                            raise
                        notices.remark(f"{error} Waiting for it")  # the service may start later
                    last = LinePosition(here, sys.maxsize)
                case "log" if last is not None:
                    last = _print_batch(item, last, printer)
                case "skipped" | "reset":
                    notices.remark(f"{_gap(item)}; reading them from history")
                case _:
                    pass
            printer.flush()


def _print_batch(message: Message, last: LinePosition, printer: "_Printer") -> LinePosition:
    batch = msgspec.json.decode(message.data, type=_Batch)
    printer.dropped(batch.dropped, batch.service)
    for line in batch.lines:
        if (place := line.place) > last:
            line.service, line.instance = batch.service, batch.instance
            printer.line(line)
            last = place
    return last


async def _fill(
    api: Api,
    selection: LogSelection,
    last: LinePosition,
    here: Cursor,
    printer: "_Printer",
    notices: Notices,
) -> None:
    count = 0
    if last.cursor < here:
        async with aclosing(_all_lines(api, selection, last.cursor.ms, here)) as lines:
            async for line in lines:
                if line.place > last:
                    printer.line(line)
                    count += 1
    printer.flush()
    notices.remark(
        f"{count:,} line{'' if count == 1 else 's'} read from history; trimmed lines are missing"
    )


def _gap(message: Message) -> str:
    data = message.decode()
    count = data.get("skipped", {}).get("log")
    return (
        f"{count:,} lines skipped: {data['reason']}"
        if count
        else f"lines may have been missed: {data['reason']}"
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
        """Report how many lines the service dropped at this place."""
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
        # Line breaks of a message are kept and indented; other control characters are escaped.
        first, *more = line.message.splitlines() or [""]
        text.append(safe(first), "bold" if line.level in ("error", "critical") else "")
        if line.fields:
            text.append(f"  {format_fields(line.fields)}", "cyan dim")
        for continuation in (*more, *line.traceback.splitlines()):
            text.append(f"\n    {safe(continuation)}", "dim")
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

"""The board as a table with one row for each instance.

On a terminal it fits the width; in a pipe lines are never cut.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from pulseboard.cli.board_mirror import is_stuck, read_last_seen, read_status
from pulseboard.cli.output_style import (
    SHAPES,
    STYLES,
    format_age,
    format_fields,
    format_interval,
    safe,
)
from pulseboard.wire.state import State
from pulseboard.wire.views import InstanceStateView

HEAD = ("STATE", "SERVICE", "INSTANCE", "SEEN", "INTERVAL", "STATUS")
TROUBLE = (State.LOST, State.LATE, State.MISSING)
_GAP = 2
_STATE_WIDTH = 9
_MIN_STATUS_WIDTH = 20


class Row(NamedTuple):
    """The columns of one instance, as text."""

    state: State
    service: str
    instance: str
    seen: str
    interval: str
    note: str
    status: str


def rows_of(instances: Sequence[InstanceStateView], now_ms: int) -> list[Row]:
    """Return a row for each instance, in their order."""
    return [
        Row(
            each.state,
            safe(each.service),
            safe(each.instance) or "-",
            "-" if (seen := read_last_seen(each)) is None else format_age(now_ms - seen),
            format_interval(each.heartbeat_s),
            _note(each, now_ms),
            format_fields(read_status(each)),
        )
        for each in instances
    ]


def plain_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the header and one line for each row, with columns at least two spaces apart."""
    cells = [
        HEAD,
        *(
            (row.state, row.service, row.instance, row.seen, row.interval, _details(row))
            for row in rows
        ),
    ]
    widths = [max(cell_len(line[n]) for line in cells) for n in range(len(HEAD) - 1)]
    for *columns, status in cells:
        padded = [
            cell + " " * (width - cell_len(cell) + _GAP)
            for cell, width in zip(columns, widths, strict=True)
        ]
        yield ("".join(padded) + status).rstrip()


def draw(rows: Sequence[Row], width: int) -> Table:
    """Return the table for a terminal of this width.

    The name of a service is shown once, at its first instance.
    """
    seen, interval = (
        max([len(head), *(len(row[n]) for row in rows)])
        for n, head in ((3, "SEEN"), (4, "INTERVAL"))
    )
    left = width - _STATE_WIDTH - seen - interval - 5 * _GAP
    service = max([len(HEAD[1]), *(cell_len(row.service) for row in rows)])
    instance = max([len(HEAD[2]), *(cell_len(row.instance) for row in rows)])
    # Long names are shortened in favour of the status, instance names first.
    room = max(left - max(_MIN_STATUS_WIDTH, left * 2 // 5), 16)
    if service + instance > room:
        service = max(min(service, room * 3 // 5), room - instance)
        instance = room - service
    table = Table(
        box=None,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        header_style="dim",
        width=width,
    )
    table.add_column(HEAD[0], no_wrap=True, width=_STATE_WIDTH)
    table.add_column(HEAD[1], no_wrap=True, width=service, overflow="ellipsis")
    table.add_column(HEAD[2], no_wrap=True, width=instance, overflow="ellipsis")
    table.add_column(HEAD[3], no_wrap=True, width=seen, justify="right")
    table.add_column(HEAD[4], no_wrap=True, width=interval, justify="right")
    table.add_column(HEAD[5], no_wrap=True, overflow="ellipsis", ratio=1)
    previous_service = ""
    for row in rows:
        dimmed = "dim" if row.state in (State.LOST, State.UNKNOWN, State.STOPPED) else ""
        status = Text.assemble(
            (row.note, "yellow"),
            (" · " if row.note and row.status else "", "dim"),
            (row.status, dimmed),
        )
        table.add_row(
            Text(f"{SHAPES[row.state]} {row.state}", STYLES[row.state]),
            Text("" if row.service == previous_service else row.service, "bold"),
            Text(shorten(row.instance, instance)),
            Text(row.seen, dimmed),
            Text(row.interval, "dim"),
            status,
        )
        previous_service = row.service
    return table


def shorten(text: str, width: int) -> str:
    """Return the text cut in the middle to a width in cells.

    The beginning and the end distinguish instances best.
    """
    if cell_len(text) <= width:
        return text
    tail = width // 2
    while cell_len(text[-tail:]) > width // 2:
        tail -= 1
    head = width - 1 - tail
    while cell_len(text[:head]) > width - 1 - width // 2:
        head -= 1
    return f"{text[:head]}…{text[-tail:] if tail else ''}"


def summarize(rows: Sequence[Row]) -> Text:
    """Return the counts by state: `3 services · 5 alive · 1 late`."""
    services = len({row.service for row in rows})
    parts = [Text(f"{services} service{'' if services == 1 else 's'}", "dim")]
    counts = Counter(row.state for row in rows)
    parts += [Text(f"{counts[state]} {state}", STYLES[state]) for state in State if counts[state]]
    return Text.assemble(*(piece for part in parts for piece in ((" · ", "dim"), part)))[3:]


def _details(row: Row) -> str:
    return "  ".join(part for part in (f"({row.note})" if row.note else "", row.status) if part)


def _note(instance: InstanceStateView, now_ms: int) -> str:
    if is_stuck(instance):
        return f"stuck for {format_age(instance.lag_ms)}"
    if instance.state is State.STOPPED and instance.back_in_s is not None:
        left_ms = instance.seen + instance.back_in_s * 1000 - now_ms
        return (
            f"back in {format_age(left_ms)}"
            if left_ms > 0
            else f"return overdue by {format_age(-left_ms)}"
        )
    return ""

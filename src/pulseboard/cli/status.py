"""`pulseboard status`."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing

import msgspec
from rich.console import Console, Group
from rich.live import Live as LiveDisplay
from rich.text import Text

from pulseboard.cli.api import Api
from pulseboard.cli.board_mirror import Mirror, missing_instance, read_last_seen
from pulseboard.cli.live import Away, Live
from pulseboard.cli.notices import Notices
from pulseboard.cli.output_style import SHAPES, format_age, format_iso, open_console
from pulseboard.cli.pipe import check_output_pipe
from pulseboard.cli.table import TROUBLE, draw, plain_lines, rows_of, summarize
from pulseboard.wire.errors import ServerRefused, ServerUnreachable
from pulseboard.wire.state import State
from pulseboard.wire.views import InstanceStateView, ServicesView

REDRAW_S = 0.1
MAX_REDRAW_S = 1.0
KINDS = "status,heartbeats,lifecycle"


class _Change(msgspec.Struct):
    """One line of `--watch --json`: an instance after a change."""

    now: int
    service: str
    instance: str
    state: State
    seen: int | None
    status: msgspec.Raw


async def show_status(server: str, services: Sequence[str], *, json: bool) -> int:
    """Print the current board."""
    async with Api(server) as api:
        body = await api.get("/api/services")
    document = msgspec.json.decode(body)
    board = msgspec.json.decode(body, type=ServicesView)
    shown = board.services
    if services:
        known = {service.name for service in shown}
        if unknown := [name for name in services if name not in known]:
            raise ServerRefused(
                404,
                "unknown-service",
                f"no service {', '.join(map(repr, unknown))} is on the board",
            )
        shown = [service for service in shown if service.name in services]
        document["services"] = [
            service for service in document["services"] if service["name"] in services
        ]
    if json:
        print(msgspec.json.encode(document).decode())
        return 0
    absent = State.MISSING if board.blind is None else State.UNKNOWN
    instances = [
        instance
        for service in shown
        for instance in (service.instances or [missing_instance(service.name, absent)])
    ]
    console, rows = open_console(), rows_of(instances, board.now)
    if board.blind is not None:
        Notices().warn(f"the board is blind: {board.blind.reason}")
    if console.is_terminal and not rows:
        console.print("No service has reported yet, and none is expected.", style="dim")
    elif console.is_terminal:
        console.print(draw(rows, console.width), Text(), summarize(rows), sep="\n")
    else:
        print("\n".join(plain_lines(rows)))
    return 0


async def watch_status(server: str, services: Sequence[str], *, json: bool) -> int:
    """Show the live board until Ctrl-C: a table on a terminal, otherwise a line for each change."""
    async with Api(server) as api:
        live = Live(api, {"kinds": KINDS, "services": ",".join(services)})
        console = open_console()
        if console.is_terminal and not json:
            await _watch_table(api, live, services, console)
        else:
            await _watch_changes(live, services, json=json)
    return 0


async def _watch_table(api: Api, live: Live, services: Sequence[str], console: Console) -> None:
    mirror, changed = Mirror(), asyncio.Event()

    async def read() -> None:
        async with aclosing(live.read()) as items:
            async for item in items:
                if isinstance(item, Away) and not live.opened:
                    raise ServerUnreachable(item.reason)
                mirror.apply(item)
                changed.set()

    reading = asyncio.create_task(read())
    try:
        await asyncio.wait(
            (reading, asyncio.create_task(changed.wait())), return_when=asyncio.FIRST_COMPLETED
        )
        if reading.done():
            await reading
        with LiveDisplay(console=console, screen=True, auto_refresh=False) as display:
            while not reading.done():
                display.update(_frame(api, mirror, services, console), refresh=True)
                changed.clear()
                await asyncio.sleep(REDRAW_S)
                woken = asyncio.create_task(changed.wait())
                await asyncio.wait(
                    (reading, woken),
                    timeout=MAX_REDRAW_S - REDRAW_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                woken.cancel()
        await reading
    finally:
        reading.cancel()


def _frame(api: Api, mirror: Mirror, services: Sequence[str], console: Console) -> Group:
    now_ms = mirror.now_ms
    rows = rows_of(mirror.instances(services), now_ms)
    if mirror.away is not None:
        headline = Text(
            f"✕ {mirror.away}; trying again", "bold red", no_wrap=True, overflow="ellipsis"
        )
    elif mirror.blind is not None:
        blind_for = format_age(now_ms - mirror.blind.since)
        headline = Text(
            f"{SHAPES[State.UNKNOWN]} blind for {blind_for}: {mirror.blind.reason}",
            "bold yellow",
            no_wrap=True,
            overflow="ellipsis",
        )
    else:
        headline = Text("● live", "green")
    title = Text.assemble(
        ("pulseboard ", "bold"),
        (api.url, "dim"),
        "  ",
        summarize(rows),
        no_wrap=True,
        overflow="ellipsis",
    )
    room = max(1, console.height - 5)
    more = Text()
    if len(rows) > room:
        # Instances in trouble stay visible when the table is too high.
        kept = sorted(range(len(rows)), key=lambda n: (rows[n].state not in TROUBLE, n))[: room - 1]
        hidden = [row for n, row in enumerate(rows) if n not in set(kept)]
        rows = [rows[n] for n in sorted(kept)]
        more = Text.assemble(("… and ", "dim"), summarize(hidden))
    return Group(title, headline, Text(), draw(rows, console.width), more)


async def _watch_changes(live: Live, services: Sequence[str], *, json: bool) -> None:
    mirror, notices, printed = (
        Mirror(),
        Notices(),
        dict[tuple[str, str], tuple[State, bytes]](),
    )
    async with aclosing(live.read()) as items:
        async for item in items:
            if isinstance(item, Away) and not live.opened:
                raise ServerUnreachable(item.reason)
            mirror.apply(item)
            notices.follow(item)
            check_output_pipe()
            if not mirror.has_board:
                continue
            seen = set()
            for each in mirror.instances(services):
                key = each.service, each.instance
                seen.add(key)
                current = each.state, bytes(each.status)
                if printed.get(key) != current:
                    printed[key] = current
                    _print_change(each, mirror.now_ms, json=json)
            for key in printed.keys() - seen:
                del printed[key]
            sys.stdout.flush()


def _print_change(instance: InstanceStateView, now_ms: int, *, json: bool) -> None:
    if json:
        change = _Change(
            now_ms,
            instance.service,
            instance.instance,
            instance.state,
            read_last_seen(instance),
            instance.status,
        )
        print(msgspec.json.encode(change).decode())
        return
    (row,) = rows_of([instance], now_ms)
    details = f"({row.note})  {row.status}" if row.note else row.status
    columns = (format_iso(now_ms), f"{row.state:<7}", f"{row.service:<20}", f"{row.instance:<20}")
    print("  ".join((*columns, details)).rstrip())

"""`pulseboard wait`."""

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing, nullcontext

from rich.console import Console
from rich.status import Status

from pulseboard.cli.api import Api
from pulseboard.cli.board_mirror import Mirror
from pulseboard.cli.condition import Condition
from pulseboard.cli.live import Live
from pulseboard.cli.output_style import format_age, open_console, safe
from pulseboard.wire.errors import ServerUnreachable

KINDS = "status,heartbeats,lifecycle"


async def wait_for(server: str, conditions: Sequence[Condition], timeout_s: float) -> int:
    """Wait until all conditions hold at the same time; return 0, or 1 after `timeout_s`.

    Raises ServerUnreachable if no server ever answered.
    """
    mirror, started = Mirror(), time.monotonic()
    errors = open_console(stderr=True)
    async with Api(server) as api:
        live = Live(
            api,
            {"kinds": KINDS, "services": ",".join({condition.service for condition in conditions})},
        )
        try:
            async with asyncio.timeout(timeout_s):
                with _spinner(errors) as spinner:
                    holders = await _until_all_hold(live, mirror, conditions, spinner)
        except TimeoutError:
            return _report_missing(live, mirror, conditions, timeout_s, errors)
    took = format_age((time.monotonic() - started) * 1000)
    for condition, holder in zip(conditions, holders, strict=True):
        print(f"{condition.text}  held by {safe(holder)} after {took}")
    return 0


async def _until_all_hold(
    live: Live, mirror: Mirror, conditions: Sequence[Condition], spinner: Status | None
) -> list[str]:
    async with aclosing(live.read()) as items:
        async for item in items:
            mirror.apply(item)
            holders = [
                condition.find_holder(mirror.instances([condition.service]))
                for condition in conditions
            ]
            if mirror.has_board and mirror.away is None and None not in holders:
                return [holder for holder in holders if holder is not None]
            if spinner is not None:
                spinner.update(safe(mirror.away or _describe(mirror, conditions)))
    raise AssertionError("the stream never ends by itself")


def _spinner(console: Console) -> Status | nullcontext[None]:
    """Return a progress spinner on a terminal, and nothing in a pipe."""
    return (
        console.status("connecting", spinner_style="cyan") if console.is_terminal else nullcontext()
    )


def _describe(mirror: Mirror, conditions: Sequence[Condition]) -> str:
    unmet = [
        each for each in conditions if each.find_holder(mirror.instances([each.service])) is None
    ]
    first, *more = unmet or conditions
    others = f", and {len(more)} more" if more else ""
    return f"waiting for {first.text}{others}: {first.describe(mirror.instances([first.service]))}"


def _report_missing(
    live: Live, mirror: Mirror, conditions: Sequence[Condition], timeout_s: float, errors: Console
) -> int:
    if not live.opened:
        raise ServerUnreachable(mirror.away or f"no board answered within {timeout_s:g} s")
    if mirror.away is not None:
        print(f"pulseboard: {mirror.away}", file=sys.stderr)
    elif mirror.blind is not None:
        print(f"pulseboard: the board is blind: {safe(mirror.blind.reason)}", file=sys.stderr)
    for condition in conditions:
        instances = mirror.instances([condition.service])
        if condition.find_holder(instances) is None:
            missing = f"{condition.text}: {condition.describe(instances)}"
            errors.print(safe(f"pulseboard: not within {timeout_s:g} s: {missing}"), soft_wrap=True)
    return 1

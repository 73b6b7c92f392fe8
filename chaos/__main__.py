"""Does the board lose an event without saying so, whatever breaks? Makes each fault of the table happen while services publish
and readers read, and accounts for every event. Exits with 1 if an event was lost unnoticed or came twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Sequence
from itertools import groupby

from benchmarks._rig import print_head

from chaos.faults import FAULTS
from chaos.report import print_report, summary
from chaos.rig import RigFailed, rig
from chaos.scene import SHORT, Fault, Plan, Result, perform

USAGE, INTERRUPTED = 2, 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--list", action="store_true", help="say what faults there are")
    parser.add_argument("--only", metavar="NAME", help="faults to make happen, separated by commas")
    parser.add_argument(
        "--short", action="store_true", help="the short run that is part of `make test`"
    )
    parser.add_argument(
        "--rate", type=float, help="events per second in total (default: 2000, short: 300)"
    )
    parser.add_argument("--readers", type=int, help="how many read (default: 6, short: 4)")
    parser.add_argument(
        "--random", type=int, metavar="SEED", help="the number that decides what is random"
    )
    options = parser.parse_args()
    if options.list:
        for fault in FAULTS:
            print(f"{fault.name:<20}{'short  ' if fault.short else '       '}{fault.what}")
        return 0
    plan = SHORT if options.short else Plan()
    given = {
        name: value for name in ("rate", "readers") if (value := getattr(options, name)) is not None
    }
    plan = Plan(**{**vars(plan), **given})
    try:
        faults = choose(options.only, short=options.short)
    except LookupError as error:
        print(f"chaos: {error.args[0]}", file=sys.stderr)
        return USAGE
    if options.random is not None:
        random.seed(options.random)
    print_head(__doc__)
    results: list[Result] = []
    try:
        asyncio.run(run(faults, plan, results))
    except RigFailed as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("chaos: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        if results:
            print_report(results)
    return 1 if any(result.failures for result in results) else 0


def choose(only: str | None, *, short: bool) -> list[Fault]:
    """Return the faults that were named, or all, or those of the short run. Raises LookupError for an unknown name."""
    by_name = {fault.name: fault for fault in FAULTS}
    if only is None:
        return [fault for fault in FAULTS if fault.short or not short]
    if unknown := [name for name in only.split(",") if name not in by_name]:
        raise LookupError(f"there is no fault {', '.join(unknown)}; --list says which there are")
    return [by_name[name] for name in only.split(",")]


async def run(faults: Sequence[Fault], plan: Plan, results: list[Result]) -> None:
    """Make the faults happen one after the other; neighbours that need the same rig share it."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    for kind, group in groupby(faults, key=lambda fault: fault.kind):
        say(f"starting Redis ({kind}), two servers and the publishers")
        async with rig(kind, plan.rate, say) as made:
            for fault in group:
                say(f"{fault.name}: {fault.what}")
                try:
                    results.append(await perform(fault, made, plan))
                except Exception:
                    say(f"{fault.name}: the logs are in {made.keep_logs(fault.name)}")
                    raise
                say(summary(results[-1]))
                if results[-1].failures:
                    say(f"{fault.name}: the logs are in {made.keep_logs(fault.name)}")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())

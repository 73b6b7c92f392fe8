"""Does the board lose an event without reporting the loss, under any fault?

Injects each fault of the table while services publish and clients read, and accounts for every
event. Exits with 1 if an event was lost without a report or arrived twice.
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

from benchmarks._environment import print_head

from chaos.deployment import DeploymentFailed, open_deployment
from chaos.experiment import SHORT, ExperimentPlan, ExperimentResult, Fault, run_experiment
from chaos.faults import FAULTS
from chaos.report import print_report, summarize

USAGE, INTERRUPTED = 2, 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--only", metavar="NAMES", help="names of faults, separated by commas")
    parser.add_argument("--short", action="store_true", help="the short run of `make test`")
    parser.add_argument(
        "--rate", type=float, help="events per second in total (default: 2000, short: 300)"
    )
    parser.add_argument("--clients", type=int, help="number of clients (default: 6, short: 4)")
    parser.add_argument("--random", type=int, metavar="SEED", help="seed of the random numbers")
    options = parser.parse_args()
    if options.list:
        for fault in FAULTS:
            print(f"{fault.name:<20}{'short  ' if fault.short else '       '}{fault.description}")
        return 0
    plan = SHORT if options.short else ExperimentPlan()
    given = {
        name: value for name in ("rate", "clients") if (value := getattr(options, name)) is not None
    }
    plan = ExperimentPlan(**{**vars(plan), **given})
    try:
        faults = select_faults(options.only, short=options.short)
    except LookupError as error:
        print(f"chaos: {error.args[0]}", file=sys.stderr)
        return USAGE
    if options.random is not None:
        random.seed(options.random)
    print_head(__doc__)
    results: list[ExperimentResult] = []
    try:
        asyncio.run(run(faults, plan, results))
    except DeploymentFailed as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("chaos: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        if results:
            print_report(results)
    return 1 if any(result.failures for result in results) else 0


def select_faults(only: str | None, *, short: bool) -> list[Fault]:
    """Return the named faults, or those of the short run, or all.

    Raises LookupError for an unknown name.
    """
    by_name = {fault.name: fault for fault in FAULTS}
    if only is None:
        return [fault for fault in FAULTS if fault.short or not short]
    if unknown := [name for name in only.split(",") if name not in by_name]:
        raise LookupError(f"unknown fault {', '.join(unknown)}; --list shows all faults")
    return [by_name[name] for name in only.split(",")]


async def run(
    faults: Sequence[Fault], plan: ExperimentPlan, results: list[ExperimentResult]
) -> None:
    """Run one experiment per fault; consecutive faults share a deployment of the same kind."""
    began = time.monotonic()

    def report_progress(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    for kind, group in groupby(faults, key=lambda fault: fault.kind):
        report_progress(f"starting Redis ({kind}), two servers and the publishers")
        async with open_deployment(kind, plan.rate, report_progress) as deployment:
            for fault in group:
                report_progress(f"{fault.name}: {fault.description}")
                try:
                    results.append(await run_experiment(fault, deployment, plan))
                except Exception:
                    folder = deployment.keep_logs(fault.name)
                    report_progress(f"{fault.name}: the logs are in {folder}")
                    raise
                report_progress(summarize(results[-1]))
                if results[-1].failures:
                    folder = deployment.keep_logs(fault.name)
                    report_progress(f"{fault.name}: the logs are in {folder}")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())

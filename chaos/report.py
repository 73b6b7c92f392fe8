"""Prints the results of the experiments: a line after each fault, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks._environment import print_table

from chaos.experiment import ExperimentResult

HEAD = (
    "fault",
    "runs",
    "events/s",
    "sent",
    "delivered",
    "reported",
    "redis lost",
    "resets",
    "skips",
    "duplicated",
    "unreported",
    "blind s",
    "recovery s",
    "verdict",
)
"""The columns of the table. `README.md` defines their terms."""


def print_report(results: Sequence[ExperimentResult]) -> None:
    """Print the table, then the failures of each experiment and notes on it."""
    print()
    print_table(HEAD, [_row(result) for result in results])
    for result in results:
        for line in (
            *result.failures,
            *dict.fromkeys((*result.report.notes, *result.experiment.notes)),
        ):
            print(f"{result.fault.name}: {line}")


def summarize(result: ExperimentResult) -> str:
    """Return the line to print after the experiment with one fault."""
    verdict = "; ".join(result.failures) or "ok"
    return f"{result.fault.name}: {verdict} ({result.sent:,} events, {result.seconds:.0f} s)"


def _row(result: ExperimentResult) -> list[str]:
    report, experiment = result.report, result.experiment
    recoveries_s = experiment.recoveries_s
    return [
        result.fault.name,
        f"{experiment.runs}",
        f"{experiment.deployment.rate:,.0f}",
        f"{result.sent:,}",
        f"{report.delivered:,}",
        f"{report.reported:,}",
        f"{report.redis_lost:,}",
        f"{report.resets}",
        f"{report.skips}",
        f"{report.duplicated}",
        f"{report.unreported}",
        f"{result.blind_s:.1f}",
        f"{max(recoveries_s):.2f}" if recoveries_s else "never",
        "FAILED" if result.failures else "ok",
    ]

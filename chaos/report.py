"""What is printed: a line when a fault is over, and the table at the end."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks._rig import print_table

from chaos.scene import Result

HEAD = (
    "fault",
    "runs",
    "events/s",
    "sent",
    "delivered",
    "told",
    "vanished",
    "resets",
    "skips",
    "duplicated",
    "lost",
    "blind s",
    "recovery s",
    "verdict",
)


def print_report(results: Sequence[Result]) -> None:
    """Print the table, then what there is to say about single faults."""
    print()
    print_table(HEAD, [_row(result) for result in results])
    for result in results:
        for line in (
            *result.failures,
            *dict.fromkeys((*result.account.notes, *result.scene.notes)),
        ):
            print(f"{result.fault.name}: {line}")


def summary(result: Result) -> str:
    """Return the one line that is shown when a fault is over."""
    words = "; ".join(result.failures) or "ok"
    return f"{result.fault.name}: {words} ({result.sent:,} events, {result.seconds:.0f} s)"


def _row(result: Result) -> list[str]:
    account, scene = result.account, result.scene
    return [
        result.fault.name,
        f"{scene.runs}",
        f"{scene.rig.rate:,.0f}",
        f"{result.sent:,}",
        f"{account.delivered:,}",
        f"{account.told:,}",
        f"{account.vanished:,}",
        f"{account.resets}",
        f"{account.skips}",
        f"{account.duplicated}",
        f"{account.unnoticed}",
        f"{result.blind_s:.1f}",
        f"{max(scene.recoveries_s):.2f}" if scene.recoveries_s else "never",
        "FAILED" if result.failures else "ok",
    ]

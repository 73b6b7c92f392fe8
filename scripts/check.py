"""Runs the checks and the test rings, and ends with one line: N passed, N failed.

A linter or type checker counts as one check. Each ring is a test run of its own: Playwright's event
loop and the one of pytest-asyncio cannot share a process, and each ring has its own time budget.
The tests of one file run one after the other, in the same process. With CI=true a skipped test
counts as failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
IN_CI = os.environ.get("CI") == "true"
SLOWEST_SHOWN = 20

# The time that each ring may take, in seconds. See `Ring.budget_s`.
PAGE_S = 60.0
UNIT_S = 60.0
INTEGRATION_S = 400.0
ACCEPTANCE_S = 400.0
BROWSER_S = 200.0

NPM = [str(BIN / "python"), "hatch_build.py", "npm"]
LINTERS = {
    "ruff check": [str(BIN / "ruff"), "check", "--quiet", "."],
    "ruff format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "import-linter": [str(BIN / "lint-imports"), "--no-logo"],
    "mypy": [str(BIN / "mypy"), "--no-error-summary"],
    "language": [str(BIN / "python"), "scripts/check_language.py"],
    "textlint": [*NPM, "run", "--silent", "--prefix", str(ROOT / "docs"), "check"],
    "generated shapes": [str(BIN / "python"), "scripts/generate_shapes.py", "--check"],
    "biome": [*NPM, "run", "--silent", "check"],
    "tsc": [*NPM, "run", "--silent", "typecheck"],
}


class Ring(NamedTuple):
    """A set of tests that run together, and the time that they may take."""

    name: str
    command: tuple[str, ...]
    budget_s: float
    """The time that the ring takes on two cores at half the speed of the machine that it was
    measured on: twice the measured time. A ring that takes 1.5 budgets, three times the measured
    time, fails: then a test got slow, not the machine."""
    environment: tuple[tuple[str, str], ...] = ()


class Tally(NamedTuple):
    """How many checks or tests passed, failed and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


class TestTime(NamedTuple):
    """How long one test took, its fixtures included."""

    seconds: float
    ring: str
    test: str


class RingResult(NamedTuple):
    """The result of one ring."""

    ring: Ring
    tally: Tally
    seconds: float
    times: list[TestTime]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lint", action="store_true", help="run no tests")
    parser.add_argument("--fast", action="store_true", help="run the unit tests only")
    options = parser.parse_args()
    os.chdir(ROOT)
    began = time.monotonic()
    tallies = lint()
    if not options.lint:
        results = test(fast_rings() if options.fast else all_rings())
        tallies += [result.tally for result in results]
        if not options.fast and browser_path() is None:
            announce("Browser tests: skipped, there is no Chromium")
            tallies.append(Tally(skipped=1))
        report(results)
    total = Tally(*map(sum, zip(*tallies, strict=True)))
    if total.skipped and IN_CI:
        print(f"{total.skipped} skipped, which counts as failed with CI=true")
        total = Tally(total.passed, total.failed + total.skipped)
    elif total.skipped:
        print(f"{total.skipped} skipped")
    print(f"Total time: {time.monotonic() - began:.0f} s")
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed else 0


def announce(text: str) -> None:
    print(f"==> {text}", flush=True)


# ---------------------------------------------------------------- linters


def lint() -> list[Tally]:
    """Run the linters and type checkers two at a time, and show the output of those that fail."""
    tallies = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, (ok, output, took_s) in zip(
            LINTERS, pool.map(run_quietly, LINTERS.values()), strict=True
        ):
            announce(f"{name}: {'ok' if ok else 'FAILED'} ({took_s:.1f} s)")
            if not ok:
                print(output, flush=True)
            tallies.append(Tally(passed=int(ok), failed=int(not ok)))
    return tallies


def run_quietly(command: list[str]) -> tuple[bool, str, float]:
    began = time.monotonic()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode == 0, done.stdout.strip(), time.monotonic() - began


# ---------------------------------------------------------------- rings


def fast_rings() -> list[Ring]:
    return [page_ring(), pytest_ring("unit", "tests/unit", workers=2, budget_s=UNIT_S)]


def all_rings() -> list[Ring]:
    rings = [
        *fast_rings(),
        pytest_ring(
            *("integration", "tests/integration", "tests/compatibility"),
            workers=4,
            budget_s=INTEGRATION_S,
        ),
        pytest_ring("acceptance", "tests/acceptance", workers=4, budget_s=ACCEPTANCE_S),
    ]
    if browser := browser_path():
        rings.append(
            pytest_ring("browser", "tests/browser", workers=2, budget_s=BROWSER_S)._replace(
                environment=(("PULSEBOARD_CHROMIUM", browser),)
            )
        )
    return rings + further_rings()


def further_rings() -> list[Ring]:
    """Return the unit ring for each environment of `scripts/prepare.py` with another Python."""
    rings = [
        pytest_ring(
            f"unit, Python {python.parents[1].name.removeprefix('.venv-')}",
            "tests/unit",
            workers=2,
            budget_s=UNIT_S,
            python=python,
        )
        for python in sorted(ROOT.glob(".venv-*/bin/python"))
    ]
    if not rings:
        announce("Unit tests on further Pythons: none, this machine has no other supported Python")
    return rings


def page_ring() -> Ring:
    return Ring("page", (*NPM, "run", "--silent", "test", "--", "--reporter=default"), PAGE_S)


def pytest_ring(
    name: str, *paths: str, workers: int, budget_s: float, python: Path = BIN / "python"
) -> Ring:
    options = ("--quiet", "--dist", "loadfile", "-n", str(workers))
    return Ring(name, (str(python), "-m", "pytest", *options, *paths), budget_s)


def test(rings: list[Ring]) -> list[RingResult]:
    results = []
    with tempfile.TemporaryDirectory(prefix="pulseboard-reports-") as folder:
        for number, ring in enumerate(rings):
            announce(f"{ring.name} tests")
            results.append(run_ring(ring, Path(folder, f"{number}.xml")))
    return results


def run_ring(ring: Ring, junit_file: Path) -> RingResult:
    """Run a ring, show its output, and count its tests from the JUnit file that it writes."""
    to_junit = (
        ("--reporter=junit", f"--outputFile.junit={junit_file}")
        if ring.command[: len(NPM)] == tuple(NPM)
        else (f"--junit-xml={junit_file}",)
    )
    began = time.monotonic()
    done = subprocess.run(
        [*ring.command, *to_junit], env=os.environ | dict(ring.environment), check=False
    )
    took_s = time.monotonic() - began
    tally, times = read_junit(junit_file, ring.name) if junit_file.is_file() else (Tally(), [])
    if done.returncode and not tally.failed:
        # The run ended before its tests did, or it failed for a reason that belongs to no test.
        print(f"pulseboard: {' '.join(ring.command)} ended with exit code {done.returncode}")
        tally = tally._replace(failed=1)
    if took_s > 1.5 * ring.budget_s:
        print(
            f"pulseboard: the {ring.name} ring took {took_s:.0f} s, its budget is "
            f"{ring.budget_s:.0f} s; make its slowest tests faster, or run it on an idle machine"
        )
        tally = tally._replace(failed=tally.failed + 1)
    return RingResult(ring, tally, took_s, times)


def read_junit(file: Path, ring: str) -> tuple[Tally, list[TestTime]]:
    passed = failed = skipped = 0
    times = []
    for case in ET.parse(file).iter("testcase"):  # noqa: S314 - written by our own test run
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif (skip := case.find("skipped")) is not None and skip.get("type") != "pytest.xfail":
            skipped += 1
        else:
            passed += 1
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        times.append(TestTime(float(case.get("time", 0)), ring, name))
    return Tally(passed, failed, skipped), times


def report(results: list[RingResult]) -> None:
    """Print the slowest tests, then the time of each ring."""
    slowest = sorted((each for result in results for each in result.times), reverse=True)
    announce(f"The {SLOWEST_SHOWN} slowest tests")
    for each in slowest[:SLOWEST_SHOWN]:
        print(f"{each.seconds:7.1f} s  {each.ring}: {each.test}")
    announce("Time of each ring")
    for ring, tally, seconds, _ in results:
        counts = f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped"
        print(f"{seconds:7.1f} s  {ring.name} (budget {ring.budget_s:.0f} s): {counts}")


def browser_path() -> str | None:
    """Return the Chromium that `scripts/prepare.py test` found."""
    note = ROOT / ".venv" / ".chromium"
    return os.environ.get("PULSEBOARD_CHROMIUM") or (
        note.read_text(encoding="utf-8") if note.is_file() else None
    )


if __name__ == "__main__":
    sys.exit(main())

"""Runs every check and every test, reports them all, and ends with one line: N passed, N failed.

A linter or type checker counts as one. pytest runs twice, since Playwright's event loop and pytest-asyncio's do not
share a process; most tests wait for something, so several run at once, those of one file after each other. With CI=true
a skipped test is a failed one.
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

NPM = [str(BIN / "python"), "hatch_build.py", "npm"]
PYTEST = [str(BIN / "python"), "-m", "pytest", "--quiet", "--dist", "loadfile"]
UNIT = [*PYTEST, "-m", "not browser", "-n", "3"]
BROWSER = [*PYTEST, "-m", "browser", "-n", "2"]
LINTERS = {
    "ruff check": [str(BIN / "ruff"), "check", "--quiet", "."],
    "ruff format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "import-linter": [str(BIN / "lint-imports"), "--no-logo"],
    "mypy": [str(BIN / "mypy"), "--no-error-summary"],
    "generated shapes": [str(BIN / "python"), "scripts/generate_shapes.py", "--check"],
    "biome": [*NPM, "run", "--silent", "check"],
    "tsc": [*NPM, "run", "--silent", "typecheck"],
}


class Tally(NamedTuple):
    """What came of some checks or tests."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lint", action="store_true", help="leave the tests out")
    options = parser.parse_args()
    os.chdir(ROOT)
    began = time.monotonic()
    tallies = lint()
    if not options.lint:
        tallies += test()
    total = Tally(*map(sum, zip(*tallies, strict=True)))
    if total.skipped and IN_CI:
        print(f"{total.skipped} skipped, which counts as failed with CI=true")
        total = Tally(total.passed, total.failed + total.skipped)
    elif total.skipped:
        print(f"{total.skipped} skipped")
    print(f"All of it took {time.monotonic() - began:.0f} s")
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed else 0


def say(what: str) -> None:
    print(f"==> {what}", flush=True)


def lint() -> list[Tally]:
    """Run the linters and type checkers two at a time, and show what one says only if it objects."""
    tallies = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, (ok, output, took_s) in zip(
            LINTERS, pool.map(run_quietly, LINTERS.values()), strict=True
        ):
            say(f"{name}: {'ok' if ok else 'FAILED'} ({took_s:.1f} s)")
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


def test() -> list[Tally]:
    browser = browser_path()
    with tempfile.TemporaryDirectory(prefix="pulseboard-reports-") as folder:
        reports = Path(folder)
        vitest, pytest, browsed = (
            reports / "vitest.xml",
            reports / "pytest.xml",
            reports / "browser.xml",
        )
        say("The page's unit tests (Vitest)")
        to_vitest = ["--reporter=default", "--reporter=junit", f"--outputFile.junit={vitest}"]
        tallies = [run_tests([*NPM, "run", "--silent", "test", "--", *to_vitest], vitest)]
        say("Unit and integration tests (pytest)")
        tallies.append(run_tests([*UNIT, f"--junit-xml={pytest}"], pytest))
        if browser:
            say(f"Browser tests (pytest, {browser})")
            tallies.append(
                run_tests(
                    [*BROWSER, f"--junit-xml={browsed}"], browsed, PULSEBOARD_CHROMIUM=browser
                )
            )
        else:
            say("Browser tests: skipped, there is no Chromium")
            tallies.append(Tally(skipped=1))
    return tallies


def run_tests(command: list[str], report: Path, **environment: str) -> Tally:
    """Run tests, their output on ours, and count them from the JUnit file they write."""
    done = subprocess.run(command, env={**os.environ, **environment}, check=False)
    tally = count(report) if report.is_file() else Tally()
    if (
        done.returncode and not tally.failed
    ):  # it ended before it could test, or for a reason that is no test's
        print(f"pulseboard: {' '.join(command)} ended with exit code {done.returncode}")
        tally = tally._replace(failed=1)
    return tally


def count(report: Path) -> Tally:
    passed = failed = skipped = 0
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by our own test run
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif (skip := case.find("skipped")) is not None and skip.get("type") != "pytest.xfail":
            skipped += 1
        else:
            passed += 1
    return Tally(passed, failed, skipped)


def browser_path() -> str | None:
    """Return the Chromium that `scripts/prepare.py test` found."""
    note = ROOT / ".venv" / ".chromium"
    return os.environ.get("PULSEBOARD_CHROMIUM") or (
        note.read_text(encoding="utf-8") if note.is_file() else None
    )


if __name__ == "__main__":
    sys.exit(main())

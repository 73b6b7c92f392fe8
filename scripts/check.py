"""Runs every check and test, reports them all, and ends with one line: N passed, N failed.

A linter or type checker counts as one. pytest runs in two processes, since Playwright's loop and pytest-asyncio's do not share one.
With CI=true a skipped test is a failed one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
IN_CI = os.environ.get("CI") == "true"
NO_TESTS_COLLECTED = 5


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self


def npm(*args: str) -> list[str]:
    return [str(BIN / "python"), "hatch_build.py", "npm", *args]


CHECKS = {
    "ruff check": [str(BIN / "ruff"), "check", "--quiet", "."],
    "ruff format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "mypy": [str(BIN / "mypy"), "--no-error-summary"],
    "import-linter": [str(BIN / "lint-imports"), "--no-logo"],
    "biome": npm("run", "--silent", "check"),
    "tsc": npm("run", "--silent", "typecheck"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lint", action="store_true", help="leave the tests out")
    options = parser.parse_args()
    os.chdir(ROOT)
    total = run_checks()
    if not options.lint:
        with tempfile.TemporaryDirectory() as reports:
            total += run_tests(Path(reports))
    if total.skipped:
        print(f"{total.skipped} skipped")
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed else 0


def run_checks() -> Tally:
    """Run the linters and type checkers, two at a time; print what one says only if it objects."""
    tally = Tally()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, (ok, output, seconds) in zip(CHECKS, pool.map(run_quietly, CHECKS.values()), strict=True):
            print(f"==> {name}: {'ok' if ok else 'FAILED'} ({seconds:.1f} s)", flush=True)
            if not ok:
                print(output, flush=True)
            tally += Tally(passed=int(ok), failed=int(not ok))
    return tally

"""The short chaos run: real processes die and freeze, and every loss is reported."""

import subprocess
import sys
from pathlib import Path

from pulseboard.process import spawn

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 100.0


def test_no_fault_loses_an_event_without_a_report() -> None:
    with spawn(
        [sys.executable, "-m", "chaos", "--short"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as chaos:
        output, _ = chaos.communicate(timeout=LIMIT_S)
    assert chaos.returncode == 0, output.decode()

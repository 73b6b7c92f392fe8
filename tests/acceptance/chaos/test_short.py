"""The fault table, in its short run: real processes die, hang and forget, and no event is lost without a word."""

import subprocess
import sys
from pathlib import Path

from pulseboard.process import spawn

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 100.0


def test_no_event_is_lost_unnoticed_whatever_breaks() -> None:
    with spawn(
        [sys.executable, "-m", "chaos", "--short"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as chaos:
        said, _ = chaos.communicate(timeout=LIMIT_S)
    assert chaos.returncode == 0, said.decode()

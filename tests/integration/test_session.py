"""The parts of a test run that do not depend on how it is started."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_sigint_is_not_ignored_when_the_test_run_started_with_it_ignored() -> None:
    program = (
        "import signal, tests.conftest;"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    done = subprocess.run(
        [*ignoring, sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"

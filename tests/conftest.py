"""Fixtures of every test: an isolated environment and a namespace that no other test uses."""

import os
import signal
import uuid
from pathlib import Path

import pytest
from hypothesis import settings
from tests.support.examples import THOROUGH, examples

from pulseboard.bus.connection.address import ENVIRONMENT
from pulseboard.bus.keys import Keys

# A non-interactive shell starts background jobs with SIGINT ignored, and every child process
# inherits that. Tests send SIGINT to children, so the test run restores the default disposition.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The load of the machine decides how long an example takes, so no example has a deadline.
settings.register_profile("quick", max_examples=examples(100), deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile("thorough" if THOROUGH else "quick")


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the options, the Redis and the data of the user who runs the tests."""
    for name in os.environ:
        if name in ENVIRONMENT or (
            name.startswith("PULSEBOARD_") and name != "PULSEBOARD_CHROMIUM"
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PULSEBOARD_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses; `<namespace>:` is its channel prefix."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def prefix(namespace: str) -> str:
    return f"{namespace}:"


@pytest.fixture
def keys(namespace: str) -> Keys:
    return Keys(namespace)

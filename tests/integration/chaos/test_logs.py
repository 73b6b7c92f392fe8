"""The logs of a row that fails are kept; those of the others go with the rig."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from chaos import __main__ as program
from chaos.ledger import Account
from chaos.rig import Rig
from chaos.scene import Fault, Plan, Result, Scene

LOG = "server-0.log"


async def nothing(_: Scene) -> None:
    """The faults of these tests do nothing."""


PASSES, FAILS, RAISES = (
    Fault(name, "nothing happens", nothing) for name in ("passes", "fails", "raises")
)


def rig_in(folder: Path) -> Rig:
    """Return a rig without processes, whose first server wrote one line to its log."""
    (folder / LOG).write_text("what went wrong\n", encoding="utf-8")
    store, recorder = cast("Any", SimpleNamespace(url="redis://127.0.0.1")), cast("Any", None)
    return Rig(store, folder, recorder, None)


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have a rig without processes, and keep logs below `tmp_path`."""

    @asynccontextmanager
    async def rig(*_: Any) -> AsyncIterator[Rig]:
        with tempfile.TemporaryDirectory() as folder:
            yield rig_in(Path(folder))

    async def perform(fault: Fault, rig: Rig, plan: Plan) -> Result:
        if fault is RAISES:
            raise RuntimeError
        scene = Scene(rig, plan, failures=["it failed"] if fault is FAILS else [])
        return Result(fault, scene, Account(), sent=0, seconds=0, blind_s=0)

    monkeypatch.setattr(program, "rig", rig)
    monkeypatch.setattr(program, "perform", perform)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_log_of_a_row_that_fails_is_kept_in_a_folder_that_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(program.run([PASSES, FAILS], Plan(), []))
    (kept,) = tmp_path.iterdir()
    assert (kept / LOG).read_text(encoding="utf-8") == "what went wrong\n"
    assert f"fails: the logs are in {kept}\n" in capsys.readouterr().out


def test_the_log_of_a_row_that_could_not_be_finished_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(program.run([RAISES], Plan(), []))
    (kept,) = tmp_path.iterdir()
    assert (kept / LOG).is_file()
    assert str(kept) in capsys.readouterr().out


def test_no_log_of_a_row_that_passes_is_kept(tmp_path: Path) -> None:
    asyncio.run(program.run([PASSES], Plan(), []))
    assert not list(tmp_path.iterdir())

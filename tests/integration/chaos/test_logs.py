"""The logs of a failed experiment are kept; other logs are deleted with the deployment."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from chaos import __main__ as program
from chaos.deliveries import DeliveryReport
from chaos.deployment import Deployment
from chaos.experiment import Experiment, ExperimentPlan, ExperimentResult, Fault

LOG = "server-0.log"


async def inject_nothing(_: Experiment) -> None:
    """Do nothing."""


PASSES, FAILS, RAISES = (
    Fault(name, "no fault", inject_nothing) for name in ("passes", "fails", "raises")
)


def deployment_in(folder: Path) -> Deployment:
    """Return a deployment without processes, with one line in the log of its first server."""
    (folder / LOG).write_text("the reason of the failure\n", encoding="utf-8")
    redis, recorder = cast("Any", SimpleNamespace(url="redis://127.0.0.1")), cast("Any", None)
    return Deployment(redis, folder, recorder, None)


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Replace the deployment by one without processes, and keep logs below `tmp_path`."""

    @asynccontextmanager
    async def open_deployment(*_: Any) -> AsyncIterator[Deployment]:
        with tempfile.TemporaryDirectory() as folder:
            yield deployment_in(Path(folder))

    async def run_experiment(
        fault: Fault, deployment: Deployment, plan: ExperimentPlan
    ) -> ExperimentResult:
        if fault is RAISES:
            raise RuntimeError
        failures = ["failed"] if fault is FAILS else []
        experiment = Experiment(deployment, plan, failures=failures)
        return ExperimentResult(fault, experiment, DeliveryReport(), sent=0, seconds=0, blind_s=0)

    monkeypatch.setattr(program, "open_deployment", open_deployment)
    monkeypatch.setattr(program, "run_experiment", run_experiment)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_logs_of_a_failed_experiment_are_kept_in_a_folder_that_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(program.run([PASSES, FAILS], ExperimentPlan(), []))
    (kept,) = tmp_path.iterdir()
    assert (kept / LOG).read_text(encoding="utf-8") == "the reason of the failure\n"
    assert f"fails: the logs are in {kept}\n" in capsys.readouterr().out


def test_logs_of_an_experiment_that_raises_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(program.run([RAISES], ExperimentPlan(), []))
    (kept,) = tmp_path.iterdir()
    assert (kept / LOG).is_file()
    assert str(kept) in capsys.readouterr().out


def test_logs_of_a_passed_experiment_are_deleted(tmp_path: Path) -> None:
    asyncio.run(program.run([PASSES], ExperimentPlan(), []))
    assert not list(tmp_path.iterdir())

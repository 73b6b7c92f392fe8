"""One experiment: inject a fault while clients read, then check the events that they received."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from chaos.client import Client
from chaos.deliveries import DeliveryReport, check_deliveries
from chaos.deployment import Deployment, Kind
from chaos.external import AcceptedBatch, ExternalReport, RedisOutcome, check_external
from chaos.ids import ms_of
from chaos.redis_servers import ReplicatedRedis, SingleValkey
from chaos.waiting import wait_until

RECOVERY_S = 60.0
"""Time limit within which each client must receive an event after the end of a fault."""
CATCH_UP_S = 20.0
"""Time limit within which each client must receive the last event of the experiment."""
INGEST_S = 8.0
"""Time limit within which servers must ingest external messages and report a coverage gap. A server
reports a gap 3 s after it has subscribed again, and after it has ingested delayed messages."""
MAX_CLOCK_ERROR_MS = 60_000
"""Limit of the difference between a server's `now` and the clock of the machine of Redis."""


@dataclass(frozen=True)
class ExperimentPlan:
    """The load and the durations of experiments."""

    rate: float = 2_000
    """Events per second in total."""
    clients: int = 6
    steady_s: float = 3.0
    """Seconds of undisturbed operation before and after a fault."""
    repetitions: float = 1.0
    """A factor: a fault is repeated its usual number of times multiplied by this."""
    frozen: int = 1_000
    """The number of clients that never read."""
    pause_s: float = 30.0
    """The number of seconds for which a slow client does not read."""

    def repeats(self, usual: int) -> range:
        """Return a range with one element for each repetition of a fault."""
        return range(max(1, round(usual * self.repetitions)))


SHORT = ExperimentPlan(rate=300, clients=4, steady_s=0.5, repetitions=0.3, frozen=100, pause_s=1.0)


@dataclass
class Experiment:
    """The objects on which a fault acts, and the record of its effects.

    `runs` counts the repetitions of the fault; `recoveries_s` has the duration of each recovery.
    """

    deployment: Deployment
    plan: ExperimentPlan
    clients: list[Client] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    runs: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def valkey(self) -> SingleValkey:
        """The Redis of a deployment without replicas."""
        assert isinstance(self.deployment.redis, SingleValkey)
        return self.deployment.redis

    @property
    def replicated_redis(self) -> ReplicatedRedis:
        """The Redis of a deployment with replicas."""
        assert isinstance(self.deployment.redis, ReplicatedRedis)
        return self.deployment.redis

    async def add_clients(self, clients: list[Client]) -> None:
        """Start more clients, and wait until each has its first event.

        The experiment checks their deliveries too.
        """
        self.tasks += [asyncio.create_task(client.run()) for client in clients]
        self.clients += clients
        await self.wait_or_fail(
            "every client has received an event", lambda: all(client.last_id for client in clients)
        )

    async def wait_or_fail(self, expectation: str, holds: Callable[[], bool]) -> None:
        """Wait until `holds` returns True; record a failure if it does not within 60 s."""
        if not await wait_until(holds, RECOVERY_S):
            self.failures.append(f"still not true after {RECOVERY_S:.0f} s: {expectation}")

    async def recover(self) -> None:
        """Record the end of a fault, and wait until each client receives an event sent afterwards.

        Records a failure if a client has received none within 60 s.
        """
        self.runs += 1
        ended_ms, ended = time.time_ns() // 1_000_000, time.monotonic()
        if await wait_until(
            lambda: all(ms_of(client.last_id) > ended_ms for client in self.clients), RECOVERY_S
        ):
            self.recoveries_s.append(time.monotonic() - ended)
        else:
            behind = sum(ms_of(client.last_id) <= ended_ms for client in self.clients)
            self.failures.append(
                f"{behind} clients received no event within {RECOVERY_S:.0f} s after the fault"
            )


@dataclass(frozen=True)
class Fault:
    """One fault of the fault table."""

    name: str
    description: str
    inject: Callable[[Experiment], Awaitable[None]]
    kind: Kind = "single"
    short: bool = False
    """Whether the short run includes the fault."""
    must_reset: bool = False
    """Whether the fault makes Redis lose data, so that each client must receive a reset."""
    redis: RedisOutcome = "unsure"
    """The effect on Redis. It determines which external messages may be missing."""


@dataclass
class ExperimentResult:
    """The outcome of one experiment.

    `sent` is the number of events that the feed received, `seconds` the duration of the experiment.
    `blind_s` is the longest time for which one client received no data, or was connected to a blind
    server.
    """

    fault: Fault
    experiment: Experiment
    report: DeliveryReport
    sent: int
    seconds: float
    blind_s: float

    @property
    def failures(self) -> list[str]:
        """The reasons why the experiment failed; empty when it passed."""
        found = list(self.experiment.failures)
        if self.report.unreported:
            found.append(f"{self.report.unreported} events were lost without a report")
        if self.report.duplicated:
            found.append(f"{self.report.duplicated} events arrived twice")
        if self.report.out_of_order:
            found.append(f"{self.report.out_of_order} events arrived out of order")
        return found


async def run_experiment(
    fault: Fault, deployment: Deployment, plan: ExperimentPlan
) -> ExperimentResult:
    """Inject one fault while clients read, and check the events that they received."""
    began, accepted_before = time.monotonic(), len(deployment.external.accepted)
    recorder = deployment.recorder
    experiment = Experiment(deployment, plan)
    try:
        await experiment.add_clients(
            [Client(deployment.ports, first=n) for n in range(plan.clients)]
        )
        before = len(recorder.ids)
        await asyncio.sleep(plan.steady_s)
        await fault.inject(experiment)
        await asyncio.sleep(plan.steady_s)
        goal, sent = recorder.last_id, len(recorder.ids) - before
        await wait_until(
            lambda: all(client.position >= goal for client in experiment.clients), CATCH_UP_S
        )
        accepted = deployment.external.accepted[accepted_before:]
        external = await _check_external(experiment, fault, accepted)
    finally:
        for task in experiment.tasks:
            task.cancel()
        ends = await asyncio.gather(*experiment.tasks, return_exceptions=True)
    experiment.failures += [
        f"a client failed: {end!r}" for end in ends if not isinstance(end, asyncio.CancelledError)
    ]
    clients = experiment.clients
    await wait_until(
        lambda: recorder.last_id >= max(client.position for client in clients), CATCH_UP_S
    )
    report = _check_all(experiment, goal)
    report.duplicated += external.duplicated
    report.unreported += external.lost
    experiment.notes += external.notes
    _check_expectations(fault, experiment, report)
    blind_s = max(max(client.longest_blind_s, client.longest_silence_s) for client in clients)
    return ExperimentResult(fault, experiment, report, sent, time.monotonic() - began, blind_s)


def _check_all(experiment: Experiment, goal: int) -> DeliveryReport:
    feed = experiment.deployment.recorder.feed
    report = DeliveryReport()
    for client in experiment.clients:
        report.add(check_deliveries(client.log, feed))
        if missing := len(feed.between(client.position, goal)):
            report.unreported += missing
            report.notes.append(
                f"a client did not receive the last {missing} events "
                f"in {client.connections} connections"
            )
    return report


async def _check_external(
    experiment: Experiment, fault: Fault, accepted: list[AcceptedBatch]
) -> ExternalReport:
    """Return the report of the external messages that Redis accepted.

    Servers need time to ingest messages and to report a coverage gap. So this function repeats the
    check until no message is lost, for at most 8 s.
    """

    def check() -> ExternalReport:
        gaps = [client.gaps for client in experiment.clients]
        ingested = experiment.deployment.recorder.ingested
        return check_external(accepted, ingested, gaps, fault.redis)

    await wait_until(lambda: not check().lost, INGEST_S)
    return check()


def _check_expectations(fault: Fault, experiment: Experiment, report: DeliveryReport) -> None:
    problem = experiment.deployment.recorder.problem
    if problem is not None:
        experiment.failures.append(problem)
    runs, clients = experiment.runs, experiment.clients
    if fault.must_reset and report.resets < runs * len(clients):
        experiment.failures.append(
            f"Redis lost data {runs} times, but {len(clients)} clients got {report.resets} resets"
        )
    error_ms = max(client.max_clock_error_ms for client in clients)
    if error_ms > MAX_CLOCK_ERROR_MS:
        experiment.failures.append(f"a server sent a time that is wrong by {error_ms / 1000:.0f} s")

"""The scene of one fault: readers that read while it happens, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from chaos.ids import ms_of
from chaos.ledger import Account, settle
from chaos.plain import Keeping, PlainAccount, Taken, settle_plain
from chaos.reader import Reader
from chaos.rig import Kind, Rig
from chaos.store import Replicas, Valkey
from chaos.waiting import wait_until

RECOVERY_S = 60.0
CATCH_UP_S = 20.0
ADOPTION_S = 8.0
"""A server that hears again waits 3 s before it says what nobody heard; and what is behind must be heard first."""
NOW_WITHIN_MS = 60_000
"""How far a server's `now` may be from the clock of Redis' host, whatever its own clock says."""


@dataclass(frozen=True)
class Plan:
    """How long and how much."""

    rate: float = 2_000
    readers: int = 6
    steady_s: float = 3.0
    """How long all is well before and after a fault."""
    times: float = 1.0
    """How often a fault is repeated, of the usual number."""
    frozen: int = 1_000
    """How many readers never read."""
    pause_s: float = 30.0
    """For how long a slow reader does not."""

    def repeats(self, usual: int) -> range:
        """Return how often to make a fault happen."""
        return range(max(1, round(usual * self.times)))


SHORT = Plan(rate=300, readers=4, steady_s=0.5, times=0.3, frozen=100, pause_s=1.0)


@dataclass
class Scene:
    """What a fault may touch, and where it notes what it did."""

    rig: Rig
    plan: Plan
    readers: list[Reader] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    runs: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def valkey(self) -> Valkey:
        """The one Redis that there is."""
        assert isinstance(self.rig.store, Valkey)
        return self.rig.store

    @property
    def replicas(self) -> Replicas:
        """The master and its replicas."""
        assert isinstance(self.rig.store, Replicas)
        return self.rig.store

    async def admit(self, readers: list[Reader]) -> None:
        """Let more readers in, to be accounted for as the others; returns when each has its first event."""
        self.tasks += [asyncio.create_task(reader.run()) for reader in readers]
        self.readers += readers
        await self.until(lambda: all(reader.last for reader in readers))

    async def until(self, holds: Callable[[], bool]) -> bool:
        """Wait until something holds that must; note it as a failure when it does not."""
        held = await wait_until(holds, RECOVERY_S)
        if not held:
            self.failures.append(f"what must come did not within {RECOVERY_S:.0f} s")
        return held

    async def recover(self) -> None:
        """Note the end of a fault, and wait until every reader got an event that was sent after it."""
        self.runs += 1
        ended_ms, ended = time.time_ns() // 1_000_000, time.monotonic()
        if await wait_until(
            lambda: all(ms_of(reader.last) > ended_ms for reader in self.readers), RECOVERY_S
        ):
            self.recoveries_s.append(time.monotonic() - ended)
        else:
            behind = sum(ms_of(reader.last) <= ended_ms for reader in self.readers)
            self.failures.append(
                f"{behind} readers got nothing within {RECOVERY_S:.0f} s after the fault"
            )


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    name: str
    what: str
    run: Callable[[Scene], Awaitable[None]]
    kind: Kind = "alone"
    short: bool = False
    """Part of the short run too."""
    must_reset: bool = False
    """Redis forgets: each reader must be told so by a reset."""
    redis: Keeping = "unsure"
    """What becomes of Redis, and so of plain publishes."""


@dataclass
class Result:
    """One line of the report."""

    fault: Fault
    scene: Scene
    account: Account
    sent: int
    seconds: float
    blind_s: float

    @property
    def failures(self) -> list[str]:
        """Return why this is no pass; empty when it is one."""
        found = list(self.scene.failures)
        if self.account.unnoticed:
            found.append(f"{self.account.unnoticed} events were lost unnoticed")
        if self.account.duplicated:
            found.append(f"{self.account.duplicated} events came twice")
        if self.account.disordered:
            found.append(f"{self.account.disordered} events came out of order")
        return found


async def perform(fault: Fault, rig: Rig, plan: Plan) -> Result:
    """Make one fault happen while readers read, and settle what they got."""
    began, taken_before = time.monotonic(), len(rig.plain.taken)
    scene = Scene(rig, plan)
    try:
        await scene.admit([Reader(rig.ports, first=n) for n in range(plan.readers)])
        before = len(rig.recorder.ids)
        await asyncio.sleep(plan.steady_s)
        await fault.run(scene)
        await asyncio.sleep(plan.steady_s)
        goal, sent = rig.recorder.last, len(rig.recorder.ids) - before
        await wait_until(lambda: all(reader.claim >= goal for reader in scene.readers), CATCH_UP_S)
        plain = await _settle_plain(scene, fault, rig.plain.taken[taken_before:])
    finally:
        for task in scene.tasks:
            task.cancel()
        ends = await asyncio.gather(*scene.tasks, return_exceptions=True)
    scene.failures += [
        f"a reader failed: {end!r}" for end in ends if not isinstance(end, asyncio.CancelledError)
    ]
    await wait_until(
        lambda: rig.recorder.last >= max(reader.claim for reader in scene.readers), CATCH_UP_S
    )
    account = _settle_all(scene, goal)
    account.duplicated += plain.twice
    account.unnoticed += plain.lost
    scene.notes += plain.notes
    _judge(fault, scene, account)
    blind_s = max(max(reader.longest_blind_s, reader.longest_silence_s) for reader in scene.readers)
    return Result(fault, scene, account, sent, time.monotonic() - began, blind_s)


def _settle_all(scene: Scene, goal: int) -> Account:
    truth = scene.rig.recorder.truth
    account = Account()
    for reader in scene.readers:
        account.add(settle(reader.log, truth))
        if never := len(truth.between(reader.claim, goal)):
            account.unnoticed += never
            account.notes.append(
                f"a reader never caught up: {never} events behind, {reader.connects} connects"
            )
    return account


async def _settle_plain(scene: Scene, fault: Fault, taken: list[Taken]) -> PlainAccount:
    """Settle what was taken by now, as soon as none of it is lost: adopting, and telling what nobody heard, takes a while."""

    def settle_now() -> PlainAccount:
        told = [reader.gap for reader in scene.readers]
        return settle_plain(taken, scene.rig.recorder.adoptions, told, fault.redis)

    await wait_until(lambda: not settle_now().lost, ADOPTION_S)
    return settle_now()


def _judge(fault: Fault, scene: Scene, account: Account) -> None:
    if scene.rig.recorder.problem is not None:
        scene.failures.append(scene.rig.recorder.problem)
    if fault.must_reset and (told := account.resets) < scene.runs * len(scene.readers):
        scene.failures.append(
            f"Redis forgot {scene.runs} times before {len(scene.readers)} readers, with {told} resets"
        )
    astray = max(reader.farthest_now_ms for reader in scene.readers)
    if astray > NOW_WITHIN_MS:
        scene.failures.append(f"a server said a time that is wrong by {astray / 1000:.0f} s")

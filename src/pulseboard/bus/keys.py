"""Every Redis key, its cap and its life (docs/reference/redis.md). One hash tag a namespace: Cluster-safe."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from pulseboard.wire.errors import ConfigError

DEFAULT_NAMESPACE = "pulseboard"

BOARD_MAX = 5_000
HEARTBEATS_MAX = 10_000
INGEST_TTL_MS = 120_000
"""Longer than any two servers are apart in reading pub/sub, short enough that digests do not pile up."""
PROBE_TTL_MS = 60_000
COVERAGE_TTL_S = 3_600
"""For so long a time in which nobody heard is worth telling."""
BATCH_TTL_MS = 86_400_000
"""Longer than an outage: a batch whose answer was lost is sent again after it, and must be known for the same."""

IDEMPOTENCY_TTL_S = 86_400
"""For so long the same idempotency key stands for the same command."""
LISTENER_TTL_MS = 12_000
"""Who has not said for so long that it listens for commands does not: it says so every LISTENER_EVERY_S."""
LISTENER_EVERY_S = 4.0

HistoryKind = Literal["status", "log", "metric"]
HISTORY_KINDS: tuple[HistoryKind, ...] = get_args(HistoryKind)
_HISTORIES: dict[HistoryKind, str] = {"status": "status", "log": "logs", "metric": "metrics"}

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Keys:
    """The keys of one namespace."""

    namespace: str = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        if _NAMESPACE.fullmatch(self.namespace) is None:
            raise ConfigError(
                f"the namespace must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', not {self.namespace[:80]!r}"
            )

    @property
    def feed(self) -> str:
        return self._key("feed")

    @property
    def clock(self) -> str:
        return self._key("clock")

    @property
    def heartbeats(self) -> str:
        return self._key("heartbeats")

    @property
    def board(self) -> str:
        return self._key("board")

    @property
    def seen(self) -> str:
        return self._key("seen")

    @property
    def lost(self) -> str:
        return self._key("lost")

    @property
    def incidents(self) -> str:
        return self._key("incidents")

    @property
    def probe(self) -> str:
        return self._key("probe")

    @property
    def coverage(self) -> str:
        return self._key("coverage")

    @property
    def services(self) -> str:
        return self._key("services")

    @property
    def commands(self) -> str:
        return self._key("commands")

    @property
    def open_commands(self) -> str:
        return self._key("open_commands")

    @property
    def audit(self) -> str:
        return self._key("audit")

    def command(self, command_id: str) -> str:
        """The hash of what became of one command."""
        return self._key(f"command:{command_id}")

    def idempotency(self, digest: str) -> str:
        return self._key(f"idempotency:{digest}")

    def listener(self, service: str, instance: str) -> str:
        """What an instance listens for, for as long as it does."""
        return self._key(f"listener:{service}/{instance}")

    @property
    def shared(self) -> tuple[str, str, str, str, str, str, str, str]:
        """What each script that tells of instances begins with: feed, clock, limits, and the hashes that know each instance."""
        return (
            self.feed,
            self.clock,
            self.limits,
            self.board,
            self.seen,
            self.lost,
            self.latest_metrics,
            self.services,
        )

    def history(self, service: str, kind: HistoryKind = "status") -> str:
        """The stream of what a service said, of one kind."""
        return self._key(f"{_HISTORIES[kind]}:{service}")

    @property
    def latest_metrics(self) -> str:
        """The hash of the last metrics of each instance."""
        return self._key("latest_metrics")

    @property
    def line_counts(self) -> str:
        return self._key("line_counts")

    def line_batch(self, service: str, instance: str) -> str:
        return self._key(f"line_batch:{service}/{instance}")

    @property
    def limits(self) -> str:
        return self._key("limits")

    def planned_returns(self, service: str) -> str:
        return self._key(f"planned_returns:{service}")

    @property
    def epochs(self) -> str:
        """The channel on which servers tell each other to count anew."""
        return self._key("epochs")

    def ingested(self, epoch: str, digest: str) -> str:
        """How often the servers saw one message since an epoch began."""
        return self._key(f"ingested:{epoch}:{digest}")

    def ingestor(self, server: str) -> str:
        return self._key(f"ingestor:{server}")

    def _key(self, rest: str) -> str:
        return f"{{{self.namespace}}}:{rest}"


def board_field(service: str, instance: str) -> str:
    """Return the field of an instance in the board hash."""
    return f"{service}/{instance}"


def format_absence(back_in_s: float | None) -> str:
    """Return what publish.lua and ingest.lua take for `back_in_s`: nothing, unless the event is a planned goodbye."""
    return "" if back_in_s is None else str(back_in_s)

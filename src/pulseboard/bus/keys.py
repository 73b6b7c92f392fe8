"""Every Redis key, with its bounds and its lifetime (docs/reference/redis.md).

All keys of a namespace share one hash tag, so every script works on Redis Cluster.
"""

import re
from dataclasses import dataclass

from pulseboard.wire.errors import ConfigError
from pulseboard.wire.kinds import HISTORIES, HistoryKind

DEFAULT_NAMESPACE = "pulseboard"

BOARD_MAX = 5_000
HEARTBEATS_MAX = 10_000
INGEST_TTL_MS = 120_000
"""Lifetime of the counts of an external message.

It is longer than the delay between any two servers that read pub/sub, and short enough that digests
do not pile up.
"""
PROBE_TTL_MS = 60_000
COVERAGE_TTL_S = 3_600
"""Lifetime of the record of subscriptions; an older coverage gap is no longer reported."""
BATCH_TTL_MS = 86_400_000
"""Lifetime of the number of the last batch.

It is longer than an outage: a batch whose answer was lost is sent again after it, and Redis must
recognize it.
"""
IDEMPOTENCY_TTL_S = 86_400
"""Time for which an idempotency key stands for the same command."""
LISTENER_TTL_MS = 12_000
"""A command listener that has not renewed its record within this time is treated as gone."""
LISTENER_RENEWAL_S = 4.0

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Keys:
    """The keys of one namespace."""

    namespace: str = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        if _NAMESPACE.fullmatch(self.namespace) is None:
            raise ConfigError(
                "the namespace must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', not"
                f" {self.namespace[:80]!r}"
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
        """The hash with the command, its claims and its receipts."""
        return self._key(f"command:{command_id}")

    def idempotency(self, digest: str) -> str:
        return self._key(f"idempotency:{digest}")

    def listener(self, service: str, instance: str) -> str:
        """The commands that an instance accepts, while it listens for them."""
        return self._key(f"listener:{service}/{instance}")

    @property
    def shared(self) -> tuple[str, str, str, str, str, str, str, str]:
        """The first keys of each script that changes instances.

        They are feed, clock, limits, and the hashes with a field per instance.
        """
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
        """The stream with the events of one kind of a service."""
        return self._key(f"{HISTORIES[kind].key}:{service}")

    @property
    def latest_metrics(self) -> str:
        """The hash of the latest metric event of each instance."""
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
        """The channel on which a server publishes a marker that starts a new counting epoch."""
        return self._key("epochs")

    def ingested(self, epoch: str, digest: str) -> str:
        """The hash with the number of copies of a message that each server received in an epoch."""
        return self._key(f"ingested:{epoch}:{digest}")

    def ingestor(self, server: str) -> str:
        return self._key(f"ingestor:{server}")

    def _key(self, rest: str) -> str:
        return f"{{{self.namespace}}}:{rest}"


def board_field(service: str, instance: str) -> str:
    """Return the field of an instance in the hashes that have a field per instance."""
    return f"{service}/{instance}"


def format_back_in(back_in_s: float | None) -> str:
    """Return the `back_in_s` argument of scripts: empty without a planned return."""
    return "" if back_in_s is None else str(back_in_s)

"""`Pending`: the buffers of a service and its registries, which outlive its senders."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pulseboard.sdk.command_registry import CommandRegistry
from pulseboard.sdk.internal_errors import InternalErrors
from pulseboard.sdk.log_buffer import LogBuffer
from pulseboard.sdk.loop_watch import LoopWatch
from pulseboard.sdk.metric_registry import MetricRegistry
from pulseboard.sdk.outbox import Outbox
from pulseboard.sdk.pause_flag import PauseFlag
from pulseboard.sdk.receipt_queue import ReceiptQueue
from pulseboard.sdk.scrubber import Scrubber
from pulseboard.sdk.stats import LinkRecord
from pulseboard.sdk.usage_warnings import UsageWarnings


@dataclass(frozen=True)
class Pending:
    """The state that the senders of one service share, one after the other."""

    warnings: UsageWarnings
    errors: InternalErrors
    scrubber: Scrubber
    logs: LogBuffer
    metrics: MetricRegistry
    outbox: Outbox = field(default_factory=Outbox)
    receipts: ReceiptQueue = field(default_factory=ReceiptQueue)
    commands: CommandRegistry = field(default_factory=CommandRegistry)
    loops: LoopWatch = field(default_factory=LoopWatch)
    pause_flag: PauseFlag = field(default_factory=PauseFlag)
    link: LinkRecord = field(default_factory=LinkRecord)

    @classmethod
    def create(
        cls, service: str, mask: Iterable[str | re.Pattern[str]], metrics_every_s: float
    ) -> "Pending":
        """Return the empty state of a service; raise ConfigError for an invalid mask."""
        warnings, scrubber = UsageWarnings(service), Scrubber(mask)
        metrics = MetricRegistry(warnings.warn_once, metrics_every_s)
        return cls(warnings, InternalErrors(service), scrubber, LogBuffer(scrubber), metrics)

    def begin_run(self, run: int) -> None:
        """Prepare the buffers for the sender of this run. Called in the sender's thread."""
        self.outbox.begin_run(run)
        self.metrics.begin_run()

    def for_forked_child(self) -> "Pending":
        """Return the state of a forked child: empty buffers, the same status and commands."""
        return Pending(
            self.warnings,
            self.errors.for_forked_child(),
            self.scrubber,
            self.logs.for_forked_child(),
            self.metrics.for_forked_child(),
            self.outbox.for_forked_child(),
            commands=self.commands,
            pause_flag=self.pause_flag.for_forked_child(),
        )

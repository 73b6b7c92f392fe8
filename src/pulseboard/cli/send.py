"""`pulseboard send`."""

import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.text import Text

from pulseboard.cli.api import Api, segment
from pulseboard.cli.condition import parse_value
from pulseboard.cli.live import Live, Message
from pulseboard.cli.notices import Notices
from pulseboard.cli.output_style import open_console, safe
from pulseboard.wire.errors import ConfigError
from pulseboard.wire.events.receipt import FINAL

_SHAPES = {
    "done": ("●", "green"),
    "refused": ("✕", "red"),
    "failed": ("✕", "red"),
    "expired": ("✕", "red"),
}


class SignedCommand(NamedTuple):
    """What is asked of whom."""

    service: str
    command: str
    args: dict[str, Any]
    instance: str | None
    deadline_s: float | None
    key: str | None


class _Receipt(msgspec.Struct):
    instance: str
    receipt: str
    reason: str = ""
    error: str = ""
    result: msgspec.Raw = msgspec.Raw()
    duration_ms: int | float | None = None
    timestamp: int = 0
    command_id: str = ""

    @property
    def said(self) -> str:
        """What it says beyond its word."""
        took = "" if self.duration_ms is None else f"in {self.duration_ms:g} ms"
        return "  ".join(
            part for part in (took, self.reason, self.error, bytes(self.result).decode()) if part
        )


class _Record(msgspec.Struct):
    id: str
    cursor: str
    instances: list[str]
    receipts: list[_Receipt] = []


def parse_args(texts: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` arguments, each value JSON where it is some, else text; raise ConfigError."""
    args: dict[str, Any] = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found or not name:
            raise ConfigError(f"an argument is NAME=VALUE, not {text[:80]!r}")
        if name in args:
            raise ConfigError(f"the argument {name} is given twice")
        args[name] = parse_value(value)
    return args


async def send(server: str, order: SignedCommand, *, wait: bool, json: bool) -> int:
    """Send a command; with `wait`, stay until every instance that got it has said what came of it. Return the exit code."""
    body: dict[str, Any] = {"command": order.command, "args": order.args}
    body |= {"instance": order.instance} if order.instance is not None else {}
    body |= {"deadline_s": order.deadline_s} if order.deadline_s is not None else {}
    headers = {"idempotency-key": order.key} if order.key is not None else None
    async with Api(server) as api:
        answer = await api.post(
            f"/api/services/{segment(order.service)}/commands", body, headers=headers
        )
        record = msgspec.json.decode(answer, type=_Record)
        show = _Printer(json=json)
        if wait:
            return await _await_all(api, order.service, record, show)
    if json:
        print(answer.decode())
    else:
        show.sent(record)
    return 0


async def _await_all(api: Api, service: str, record: _Record, show: "_Printer") -> int:
    """Print each receipt as it comes; return 0 when all instances did it."""
    outcomes: dict[str, str] = {}
    shown: set[tuple[str, str]] = set()

    def take(receipts: Sequence[_Receipt]) -> bool:
        for receipt in receipts:
            if (step := (receipt.instance, receipt.receipt)) not in shown:
                shown.add(step)
                show.receipt(receipt)
            if receipt.receipt in FINAL:
                outcomes.setdefault(receipt.instance, receipt.receipt)
        return outcomes.keys() >= set(record.instances)

    if not take(record.receipts):
        notices = Notices()
        live = Live(api, {"kinds": "receipt", "services": service}, since=record.cursor)
        async with aclosing(live.read()) as items:
            async for item in items:
                notices.follow(item)
                receipts: list[_Receipt] = []
                if isinstance(item, Message) and item.event == "receipt":
                    receipts = [msgspec.json.decode(item.data, type=_Receipt)]
                elif isinstance(item, Message) and item.event == "board":
                    # The stream began anew: what came meanwhile stands in the record.
                    receipts = msgspec.json.decode(
                        await api.get(f"/api/commands/{record.id}"), type=_Record
                    ).receipts
                if take([each for each in receipts if each.command_id in ("", record.id)]):
                    break
    return 0 if all(outcome == "done" for outcome in outcomes.values()) else 1


class _Printer:
    def __init__(self, *, json: bool) -> None:
        self._console: Console = open_console()
        self._json = json

    def sent(self, record: _Record) -> None:
        text = Text.assemble(
            (record.id, "dim"), "  sent to ", ", ".join(map(safe, record.instances))
        )
        self._console.print(text, soft_wrap=True)

    def receipt(self, receipt: _Receipt) -> None:
        if self._json:
            print(msgspec.json.encode(_told(receipt)).decode())
        else:
            shape, style = _SHAPES.get(receipt.receipt, ("○", "dim"))
            text = Text()
            if self._console.is_terminal:
                text.append(f"{shape} ", style)
            text.append(f"{receipt.receipt:<8}", style)
            text.append(f"  {safe(receipt.instance) or '-'}")
            if receipt.said:
                text.append(f"  {safe(receipt.said)}")
            self._console.print(text, soft_wrap=True)
        sys.stdout.flush()


def _told(receipt: _Receipt) -> dict[str, Any]:
    told = {
        name: value
        for name, value in msgspec.structs.asdict(receipt).items()
        if value not in ("", None)
    }
    return (
        told
        if bytes(receipt.result)
        else {name: value for name, value in told.items() if name != "result"}
    )

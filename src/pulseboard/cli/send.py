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


class Request(NamedTuple):
    """A command to send."""

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
    def details(self) -> str:
        """Duration, reason, error and result on one line."""
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
    """Parse `name=value` arguments; a value is JSON or text. Raise ConfigError."""
    args: dict[str, Any] = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found or not name:
            raise ConfigError(f"an argument is NAME=VALUE, not {text[:80]!r}")
        if name in args:
            raise ConfigError(f"the argument {name} is given twice")
        args[name] = parse_value(value)
    return args


async def send(server: str, request: Request, *, wait: bool, json: bool) -> int:
    """Send a command, and with `wait` await the final receipts; return the exit code."""
    body: dict[str, Any] = {"command": request.command, "args": request.args}
    body |= {"instance": request.instance} if request.instance is not None else {}
    body |= {"deadline_s": request.deadline_s} if request.deadline_s is not None else {}
    headers = {"idempotency-key": request.key} if request.key is not None else None
    async with Api(server) as api:
        answer = await api.post(
            f"/api/services/{segment(request.service)}/commands", body, headers=headers
        )
        record = msgspec.json.decode(answer, type=_Record)
        printer = _Printer(json=json)
        if wait:
            return await _await_all(api, request.service, record, printer)
    if json:
        print(answer.decode())
    else:
        printer.sent(record)
    return 0


async def _await_all(api: Api, service: str, record: _Record, printer: "_Printer") -> int:
    """Print each receipt when it arrives; return 0 if every instance reported `done`."""
    outcomes: dict[str, str] = {}
    shown: set[tuple[str, str]] = set()

    def is_complete(receipts: Sequence[_Receipt]) -> bool:
        for receipt in receipts:
            if (step := (receipt.instance, receipt.receipt)) not in shown:
                shown.add(step)
                printer.receipt(receipt)
            if receipt.receipt in FINAL:
                outcomes.setdefault(receipt.instance, receipt.receipt)
        return outcomes.keys() >= set(record.instances)

    if not is_complete(record.receipts):
        notices = Notices()
        live = Live(api, {"kinds": "receipt", "services": service}, since=record.cursor)
        async with aclosing(live.read()) as items:
            async for item in items:
                notices.follow(item)
                receipts: list[_Receipt] = []
                if isinstance(item, Message) and item.event == "receipt":
                    receipts = [msgspec.json.decode(item.data, type=_Receipt)]
                elif isinstance(item, Message) and item.event == "board":
                    # Before a board, events may be missing. The record has all receipts.
                    receipts = msgspec.json.decode(
                        await api.get(f"/api/commands/{record.id}"), type=_Record
                    ).receipts
                if is_complete([each for each in receipts if each.command_id in ("", record.id)]):
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
            print(msgspec.json.encode(_to_json(receipt)).decode())
        else:
            shape, style = _SHAPES.get(receipt.receipt, ("○", "dim"))
            text = Text()
            if self._console.is_terminal:
                text.append(f"{shape} ", style)
            text.append(f"{receipt.receipt:<8}", style)
            text.append(f"  {safe(receipt.instance) or '-'}")
            if receipt.details:
                text.append(f"  {safe(receipt.details)}")
            self._console.print(text, soft_wrap=True)
        sys.stdout.flush()


def _to_json(receipt: _Receipt) -> dict[str, Any]:
    members = {
        name: value
        for name, value in msgspec.structs.asdict(receipt).items()
        if value not in ("", None)
    }
    return (
        members
        if bytes(receipt.result)
        else {name: value for name, value in members.items() if name != "result"}
    )

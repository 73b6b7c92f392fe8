"""Masks: what looks like a secret does not leave the process. Applied by the courier, so that no call of a host pays for it."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from pulseboard.sdk.secret_patterns import IN_TEXT, MASKED, is_secret, may_hold_one
from pulseboard.wire.errors import ConfigError

REACH = 5_000
"""Characters that are looked through beyond what is sent: room in which a secret at the cut is known as one."""


class Scrubber:
    """The built-in masks, and `more`: regular expressions of which the groups, or the whole where there are none, are masked.

    Raises ConfigError for what is no regular expression.
    """

    def __init__(self, more: Iterable[str | re.Pattern[str]] = ()) -> None:
        try:
            self._more = tuple(re.compile(pattern) for pattern in more)
        except (re.error, TypeError) as error:
            raise ConfigError(f"a mask is a regular expression: {error}") from error

    def text(self, text: str) -> str:
        """Return a text without the secrets in it."""
        lower = _fold(text)
        if may_hold_one(text, lower):
            for holds, pattern, hide in IN_TEXT:
                for part in holds:
                    if part in lower:
                        text = pattern.sub(hide, text)
                        break
        for pattern in self._more:
            text = pattern.sub(_mask_groups, text)
        return text

    def fields(self, json: bytes) -> bytes:
        """Return the JSON of an object without the secrets in it, by the names of its members and by what its texts hold."""
        if not self._more:
            text = json.decode()
            if not may_hold_one(text, _fold(text)):
                return json
        return msgspec.json.encode(self._walk(msgspec.json.decode(json)))

    def _walk(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._walk_member(name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            # What follows an option of a command line, or is the other one of a pair, is named by it.
            pair = len(value) == 2
            names = [
                each if isinstance(each, str) and (pair or each.startswith("--")) else ""
                for each in value[:-1]
            ]
            return [
                self._walk_member(name, inner)
                for name, inner in zip(("", *names), value, strict=False)
            ]
        return self.text(value) if isinstance(value, str) else value

    def _walk_member(self, name: str, value: Any) -> Any:
        return MASKED if is_secret(name, value) else self._walk(value)


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    # As re.IGNORECASE does: there are letters that match another one in any case.
    return text.casefold().replace("\u0131", "i").replace("\u0307", "")


def _mask_groups(match: re.Match[str]) -> str:
    spans = [
        match.span(group)
        for group in range(1, (match.re.groups or 0) + 1)
        if match.start(group) >= 0
    ]
    if not spans:
        return MASKED
    start, text = match.start(), match[0]
    for begin, end in sorted(spans, reverse=True):
        text = text[: begin - start] + MASKED + text[end - start :]
    return text

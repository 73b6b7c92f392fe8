"""Masks secrets before log lines leave the process.

The sender's thread applies it, so that no call of the host application pays for the search.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from pulseboard.sdk.secret_names import is_secret
from pulseboard.sdk.secret_patterns import MASKED, TEXT_RULES, may_contain_secret
from pulseboard.wire.errors import ConfigError

LOOKAHEAD = 5_000
"""Characters that are searched beyond the part that is sent, to recognise a secret at the cut."""


class Scrubber:
    """Applies the built-in rules, then the regular expressions `more` of the host application.

    Of a match of `more`, the groups are masked, or the whole match if there is no group. Raises
    ConfigError for an invalid regular expression.
    """

    def __init__(self, more: Iterable[str | re.Pattern[str]] = ()) -> None:
        try:
            self._more = tuple(re.compile(pattern) for pattern in more)
        except (re.error, TypeError) as error:
            raise ConfigError(f"a mask must be a regular expression: {error}") from error

    def mask_text(self, text: str) -> str:
        """Return a text with its secrets masked."""
        lower = _to_lower(text)
        if may_contain_secret(text, lower):
            for rule in TEXT_RULES:
                for hint in rule.hints:
                    if hint in lower:
                        text = rule.pattern.sub(rule.replacement, text)
                        break
        for pattern in self._more:
            text = pattern.sub(_mask_groups, text)
        return text

    def mask_fields(self, json: bytes) -> bytes:
        """Return the JSON of an object with its secrets masked.

        A member is masked because of its name, or the secret within its text.
        """
        if not self._more:
            text = json.decode()
            if not may_contain_secret(text, _to_lower(text)):
                return json
        return msgspec.json.encode(self._mask(msgspec.json.decode(json)))

    def _mask(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._mask_member(name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            # An item is named by the one before it if that is an option of a command line, or if
            # the list is a pair.
            is_pair = len(value) == 2
            names = [
                each if isinstance(each, str) and (is_pair or each.startswith("--")) else ""
                for each in value[:-1]
            ]
            return [
                self._mask_member(name, inner)
                for name, inner in zip(("", *names), value, strict=False)
            ]
        return self.mask_text(value) if isinstance(value, str) else value

    def _mask_member(self, name: str, value: Any) -> Any:
        return MASKED if is_secret(name, value) else self._mask(value)


def _to_lower(text: str) -> str:
    if text.isascii():
        return text.lower()
    # As re.IGNORECASE does: it matches the dotless i and the dotted capital I with an i.
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

"""Masks: what looks like a secret does not leave the process. Applied by the courier, so that no call of a host pays for it."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from pulseboard.wire.errors import ConfigError

MASKED = "***"
REACH = 5_000
"""Characters: no mask of ours is longer, with the name before it."""

_NAMES = (
    r"passw(?:or)?d|passphrase|passwd|pwd|secret|token|(?:api|access|private|encryption|signing)[_-]?key|jwt|credential|authorization"
    r"|cookie|session[_-]?id"
)

_SECRET_NAME = re.compile(rf"{_NAMES}|^(?:pass|auth)$", re.IGNORECASE)
# Every quantifier is bounded: a text is looked through once, however long its words are and whatever it nearly matches.
_VALUE = (
    r"""[bruf]{0,2}"(?:[^"\\]|\\.){0,4096}"|[bruf]{0,2}'(?:[^'\\]|\\.){0,4096}'"""  # quoted as Python and JSON do
    r"""|\\"(?:[^"\\]|\\[^"]){0,4096}\\?"?"""  # JSON within a text
    r"""|\[[^\]]{0,4096}\]?"""
    r"""|["']?[^\s,;&"'\])}]{1,4096}"""
)
_IN_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    # The password of a URL (RFC 3986, 3.2.1); it may hold an @ that nobody escaped.
    (re.compile(r"(?<=://)([^\s/:@]{0,256}):[^\s/]{0,1024}(?=@)"), rf"\1:{MASKED}"),
    # RFC 6750, 2.1 and RFC 7617: what follows the scheme; then any other scheme (RFC 9110, 11.6.2), and cookies (RFC 6265).
    (re.compile(r"\b(Bearer|Basic)\s{1,8}[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASKED}"),
    (
        re.compile(
            r"""(authorization\\?["']?\s{0,8}[=:]\s{0,8}\\?["']?)(?!(?:Bearer|Basic)\s)([A-Za-z][\w-]{0,31}\s{1,8})?[^\s"',;\\]{1,4096}""",
            re.IGNORECASE,
        ),
        rf"\1\2{MASKED}",
    ),
    # A JSON Web Token (RFC 7519) and a private key (RFC 7468), wherever they stand; and an option of a command line.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{1,8192}\.[A-Za-z0-9_-]{0,1024}"), MASKED),
    (
        re.compile(r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^-]{0,8192}(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?"),
        MASKED,
    ),
    (
        re.compile(rf"(--[\w-]{{0,32}}(?:{_NAMES})[\w-]{{0,32}}\s{{1,4}})[^\s-][^\s]{{0,1024}}", re.IGNORECASE),
        rf"\1{MASKED}",
    ),
    (re.compile(r"""(cookie\\?["']?\s{0,8}[=:]\s{0,8}\\?["']?)[^\r\n"'\\]{1,4096}""", re.IGNORECASE), rf"\1{MASKED}"),
    (
        re.compile(
            rf"""((?:(?:{_NAMES})[\w-]{{0,64}}|\b(?:pass|auth))\\?["']?\s{{0,8}}(?::=|[=:])\s{{0,8}})(?!(?:Bearer|Basic)\s|\\?["']?\*\*\*)(?:{_VALUE})""",
            re.IGNORECASE,
        ),
        rf"\1{MASKED}",
    ),
    (
        re.compile(
            rf"(<[\w:-]{{0,32}}(?:{_NAMES})[\w-]{{0,32}}(?:\s[^<>]{{0,256}})?>)[^<]{{1,4096}}(?=</)", re.IGNORECASE
        ),
        rf"\1{MASKED}",
    ),
)
_HINTS = re.compile(rf"://|\beyj|private key|bearer|basic|\b(?:pass|auth)\b|{_NAMES}", re.IGNORECASE)
_STEMS = (
    *("://", "eyj", "bearer", "basic", "pass", "pwd", "secret", "token", "key", "credential", "auth", "cookie"),
    "session",
)
"""Whatever matches the hints holds one of these. Most lines hold none, and a look for them costs a tenth of that expression."""


class Masks:
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
        if _may_tell(text):
            for pattern, replacement in _IN_TEXT:
                text = pattern.sub(replacement, text)
        for pattern in self._more:
            text = pattern.sub(_mask_groups, text)
        return text

    def fields(self, json: bytes) -> bytes:
        """Return the JSON of an object without the secrets in it, by the names of its members and by what its texts hold."""
        if not self._more and not _may_tell(json.decode()):
            return json
        return msgspec.json.encode(self._walk(msgspec.json.decode(json)))

    def _walk(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: MASKED if _SECRET_NAME.search(name) and inner is not None else self._walk(inner)
                for name, inner in value.items()
            }
        if isinstance(value, list):
            return [self._walk(inner) for inner in value]
        return self.text(value) if isinstance(value, str) else value


def _may_tell(text: str) -> bool:
    if text.isascii():  # else there are letters that match another one in any case
        lower = text.lower()
        for stem in _STEMS:
            if stem in lower:
                break
        else:
            return False
    return _HINTS.search(text) is not None


def _mask_groups(match: re.Match[str]) -> str:
    spans = [match.span(group) for group in range(1, (match.re.groups or 0) + 1) if match.start(group) >= 0]
    if not spans:
        return MASKED
    start, text = match.start(), match[0]
    for begin, end in sorted(spans, reverse=True):
        text = text[: begin - start] + MASKED + text[end - start :]
    return text

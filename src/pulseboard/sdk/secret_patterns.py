"""The shapes of secrets in a text, and a quick test whether a text may contain one.

Invariant: every quantifier is bounded, and possessive or followed by a character that it cannot
match, so the search takes time in proportion to the text. The bounds are generous limits of what
each part is in practice: 4 or 8 spaces around a separator, 64 characters of a name, 256 of a user
name or a tag, 1,024 of a host or a token in a URL, 4,096 of a quoted parameter. A longer part is
not recognised.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from pulseboard.sdk.secret_names import ANY, NAME, SOME, WHOLE_NAME, holds_secret

MASKED = "***"

_QUOTE = r"""\\{0,7}["']"""  # JSON within JSON has backslashes before its quotes: 7 at three levels
_TO_QUOTE = rf"""(?:[^"'\\]{SOME}|(?!(?<!\\)(?P=quote))[\s\S]){ANY}"""
_QUOTED = (
    rf"""[bruf]{{0,2}}(?P<quote>{_QUOTE}){_TO_QUOTE}(?P=quote)"""  # in the way of Python and JSON
    rf"""|[bruf]{{0,2}}{_QUOTE}[^\r\n]{ANY}"""  # the closing quote is missing
)
_FLAT = rf"""[^\[\]{{}}"']{SOME}|"(?:[^"\\]|\\.){ANY}"|'(?:[^'\\]|\\.){ANY}'"""
_NESTED = (  # three levels of lists and objects, or an unclosed one up to the end of the line
    rf"[\[{{](?:{_FLAT}|[\[{{](?:{_FLAT}|[\[{{](?:{_FLAT}){ANY}[\]}}]){ANY}[\]}}]){ANY}[\]}}]"
    rf"|[\[{{][^\]}}\r\n]{ANY}[\]}}]?"
)
_BARE = r"""[^\s,;&"'\])}]"""
_VALUE = (
    rf"(?P<value>(?:{_QUOTED}|{_NESTED}){_BARE}{ANY}"
    rf"|(?:(?:Bearer|Basic)\s{{1,8}})?{_BARE}{SOME})"
)
_SCHEME = (
    r"(?:Bearer|Basic|Digest|Token|Negotiate|NTLM|DPoP|OAuth|Hawk|Signature|ApiKey|SharedKey"
    r"|AWS4-[\w-]{1,32})[ \t]{1,8}"
)
_PARAMETERS = r"""(?:=\\{0,7}"[^"\r\n]{0,4096}"|[^\r\n"'\\]){1,25000}+"""
# What follows Bearer or Basic is an ordinary word unless it has, within 64 characters, a digit, one
# of the signs of Base64, or a capital after small letters.
_NO_WORD = r"(?=[a-z._~+/-]{0,64}[0-9=+/_]|(?-i:[A-Z]{0,64}[a-z]{1,64}[A-Z]))"
_KEY_END = r"PRIVATE KEY(?: BLOCK)? ?-{4,5}"

Replacement = str | Callable[[re.Match[str]], str]


class TextRule(NamedTuple):
    """One shape of a secret. It is searched for only in a text that contains one of its hints."""

    hints: tuple[str, ...]
    """In lower case."""
    pattern: re.Pattern[str]
    replacement: Replacement


def _mask_value(match: re.Match[str]) -> str:
    return match["name"] + MASKED if holds_secret(match, match["value"]) else match[0]


def _rule(
    hints: str, pattern: str, replacement: Replacement = _mask_value, *, any_case: bool = True
) -> TextRule:
    flags = re.IGNORECASE if any_case else re.NOFLAG
    return TextRule(tuple(hints.split("|")), re.compile(pattern, flags), replacement)


TEXT_RULES = (
    # The password of a URL (RFC 3986, 3.2.1). It may contain an unescaped @ or /. A port, of up to
    # 5 digits, is not a password.
    _rule(
        "@",
        r"""(?<=://)([^\s/:@"<>]{0,256}+):(?!//|\d{1,5}(?:[/?#,"'\s]|$))"""
        r"""(?:(?:(?:[^\s"<>?#:@]{1,1024}+|:(?!//)){0,64}+@){1,64}+"""
        r"""|(?:[^\s"<>:@]{1,1024}+|:(?!//)){1,64}+@)""",
        rf"\1:{MASKED}@",
    ),
    # A user without a password, which is a token in the URL of a web server.
    _rule("@", r"""(?:(?<=http://)|(?<=https://))[^\s/:@"<>?#]{1,1024}+(?=@)""", MASKED),
    # A private key (RFC 7468; RFC 9580, 6.2), also one whose beginning is cut off.
    _rule(
        "private key",
        rf"-{{4,5}} ?BEGIN [A-Z0-9 ]{{0,32}}{_KEY_END}(?:[^-]{SOME}|-(?!---[- ]END)){ANY}"
        rf"(?:----[- ]END [A-Z0-9 ]{{0,32}}{_KEY_END})?"
        rf"|\A[A-Za-z0-9+/=\s\\]{SOME}-{{4,5}} ?END [A-Z0-9 ]{{0,32}}{_KEY_END}",
        MASKED,
        any_case=False,
    ),
    # A JSON Web Token (RFC 7519).
    _rule(
        "eyj",
        rf"\beyJ[A-Za-z0-9_-]{SOME}\.[A-Za-z0-9_-]{SOME}\.[A-Za-z0-9_-]{ANY}",
        MASKED,
        any_case=False,
    ),
    # Tokens with a published prefix and least length: AWS, Google, GitHub, npm, Stripe, GitLab,
    # Slack, PyPI, OpenAI, Anthropic.
    _rule(
        "_|-|akia|asia|aiza",
        r"(?<![A-Za-z0-9])(?:A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])|AIza[\w-]{35}(?![\w-])"
        r"|gh[opsur]_[\w.-]{36,25000}+|github_pat_\w{22,25000}+|npm_[A-Za-z0-9]{36,25000}+"
        r"|[rs]k_live_\w{10,25000}+|glpat-[\w.-]{20,25000}+|xox[abeprs]-[\w-]{10,25000}+"
        r"|pypi-AgE[\w-]{16,25000}+|sk-(?=[\w-]{0,64}\d)[\w-]{20,25000}+)",
        MASKED,
        any_case=False,
    ),
    # The credentials after a scheme (RFC 6750, 2.1; RFC 7617), unless they are an ordinary word.
    _rule(
        "bearer|basic",
        rf"\b(Bearer\s{{1,8}})(?:{_NO_WORD}[a-z0-9._~+/-]{{6,25000}}+"
        r"|[a-z0-9]{16,25000}+)={0,2}"
        rf"|\b(Basic\s{{1,8}}){_NO_WORD}[a-z0-9+/_-]{{6,25000}}+={{0,2}}",
        rf"\1\2{MASKED}",
    ),
    # An option of a command line and its argument: --token x, "--token", "x".
    _rule(
        "--",
        rf"""(?<![\w-])(?P<name>--{WHOLE_NAME}(?:{_QUOTE},\s{{0,4}}|\s{{1,4}}))(?!-)"""
        rf"""(?P<value>(?:{_QUOTED}){_BARE}{ANY}|\*\*\*(?!{_BARE})|[^\s"']{SOME})""",
    ),
    # A pair of strings, such as a header of ASGI: (b"authorization", b"x").
    _rule(
        "(|[",
        rf"(?P<name>[\[(]\s?[bruf]{{0,2}}{_QUOTE}{WHOLE_NAME}{_QUOTE},\s{{0,4}})"
        rf"(?P<value>[bruf]{{0,2}}(?P<quote>{_QUOTE}){_TO_QUOTE}(?P=quote))"
        r"(?=\s?,?\s?[\])])",
    ),
    # SQL: PASSWORD 'x', IDENTIFIED BY 'x', IDENTIFIED WITH plugin AS 'x'. 'it''s' is one string.
    _rule(
        "'|\"",
        r"(?P<name>(?P<password>\bpassw(?:or)?d\s{1,4}(?=')|\bidentified\s{1,4}"
        r"(?:with\s{1,4}[\w\"'`]{1,64}\s{1,4})?(?:by|as)\s{1,4}))"
        r"(?P<value>(?:'[^'\r\n]{0,4096}'){1,64}+|\"[^\"\r\n]{0,4096}\")(?P<many>)",
    ),
    # A name and its value: name=x, "name": "x", name => x. Headers follow below.
    _rule(
        "=|:",
        rf"(?P<name>{NAME}[\w-]{{0,64}}+(?<!authorization)(?<!cookie)(?:{_QUOTE})?"
        rf"\s{{0,8}}(?:=>|:=|={{1,2}}|:(?!:))\s{{0,8}}){_VALUE}",
    ),
    # An element of XML: <password>x</password>.
    _rule(
        "</",
        rf"(?P<name><(?=[\w:.-]{{0,32}}(?:{NAME}))[\w:.-]{{1,96}}+(?:\s[^<>]{{0,256}}+)?>)"
        rf"(?P<value>[^<]{SOME})(?=</)",
    ),
    # An Authorization header of any scheme, with its parameters (RFC 9110, 11.6.2), up to the
    # closing quote or the end of the line.
    _rule(
        "authorization",
        rf"(authorization(?:{_QUOTE})?\s{{0,8}}[=:]\s{{0,8}})"
        rf"(?:([bruf]{{0,2}}(?P<quote>{_QUOTE})(?:{_SCHEME})?){_TO_QUOTE}(?=(?P=quote))"
        rf"|({_SCHEME})?(?:(?=[\w-]{{1,32}}=[^=\s]){_PARAMETERS}"
        r"""|\*\*\*(?![^\s"',;\\)\]}])|[^\s"',;\\)\]}]{1,25000}+"""
        r"""(?:[ \t]{1,4}[^\s"',;\\=:]{6,25000}+(?![=:]))?))""",
        rf"\1\2\4{MASKED}",
    ),
    # Cookies (RFC 6265), up to the closing quote or the end of the line.
    _rule(
        "cookie",
        rf"(cookie(?:{_QUOTE})?\s{{0,8}}[=:]\s{{0,8}})"
        rf"(?:([bruf]{{0,2}}(?P<quote>{_QUOTE})){_TO_QUOTE}(?=(?P=quote))|{_PARAMETERS})",
        rf"\1\2{MASKED}",
    ),
)
"""The rules, in the order in which they are applied."""


# In lower case, with alternatives that each begin with a fixed letter: several times as fast as a
# pattern that ignores case.
_HINT = re.compile(
    r"://[^\s/]{0,1024}@|://[^\s/:]{0,256}:|pass(?:w|phrase|(?![a-z]))|pwd|pw(?![a-z0-9])|secret"
    r"|token|jwt|credential|auth(?:orization|(?![a-z]))|cookie|api[\s_-]?key|access[\s_-]?key"
    r"|private[\s_-]?key|encryption[_-]?key|signing[_-]?key|account[_-]?key|shared[_-]?key"
    r"|master[_-]?key|auth[_-]?key|key=|session[\s_-]?id|signature=|sig=|amz[_-]signature"
    r"|identified\s|bearer\s|basic\s|eyj|akia|asia|aiza|gh[opsur]_|github_pat_|npm_|[rs]k_live_"
    r"|glpat-|xox|pypi-|sk-"
)


def may_contain_secret(text: str, lower: str) -> bool:
    """Return whether a text (`lower` in lower case) may contain a secret; most texts do not.

    Searching for fixed words first is the cheapest test.
    """
    # A single letter is found in a quarter of the time of a word, and a long word sooner than a
    # short one.
    return (
        ("@" in lower and "://" in lower)
        or "pass" in lower
        or "auth" in lower
        or "secret" in lower
        or "session" in lower
        or "signature" in lower
        or "denti" in lower  # credential, identified by
        or ("b" in lower and ("bearer" in lower or "basic" in lower))
        or ("j" in lower and ("jwt" in lower or "eyj" in lower))
        or (
            "k" in lower
            and ("token" in lower or "cookie" in lower or ("y" in lower and "key" in lower))
        )
        or ("w" in lower and "pw" in lower)
        or ("x" in lower and "xox" in lower)
        or ("=" in lower and "sig=" in lower)
        or (
            "-" in lower
            and ("glpat-" in lower or "pypi-" in lower or ("k" in lower and "sk-" in lower))
        )
        or (
            "_" in lower
            and (
                "npm_" in lower
                or "_live_" in lower
                or "github_" in lower
                or ("h" in lower and "gh" in lower)
            )
        )
        or ("A" in text and "I" in text and ("AKIA" in text or "ASIA" in text or "AIza" in text))
    ) and _HINT.search(lower) is not None

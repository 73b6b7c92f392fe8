"""What a secret looks like in a text, and which names have one for a value. What is done about it is for masks to say.

Each quantifier is bounded, and what it looked through is either taken or given up at once: no line is slow.
True, false, none and numbers of few digits are no secret, though a password may be digits; nor is what tells about a secret
(`token_type`) or counts tokens (`max_tokens`).
"""

import re
from collections.abc import Callable
from typing import Any

MASKED = "***"

_ANY = "{0,25000}+"  # more than is ever looked through
_SOME = "{1,25000}+"

_PASSWORDS = (
    r"(?P<password>(?<!/etc/)passw(?:or)?d(?!less)|passphrase|pwd|(?<![^\W_])pw(?![\w-])"
    r"|(?:(?<=[a-z0-9]_)|(?-i:(?<=[a-z])(?=P))|(?<=db)|(?<=smtp)|(?<=ftp)|(?<=sql)|(?<=user)|(?<=mail)|(?<=root)|(?<=admin))"
    r"pass(?![\w-]))"
)
_TOKENS = (  # prompt_tokens and prompt_tokens_details are those of a language model
    r"token(?!i[sz])(?!(?<=[_-]token)(?<!access.token)(?<!refresh.token)(?<!auth.token)(?<!api.token)s(?:_[a-z]|(?![\w-])))"
    r"(?P<many>s)?"
)
_WORD = (
    rf"(?:{_PASSWORDS}|(?<![\w-])(?:pass|auth)(?![\w-])|secret(?!ar|ion)(?:\skey)?|{_TOKENS}|jwt|credential"
    r"|(?:api|access)[\s_-]?key|(?:private|encryption|signing|account|shared|master|auth)[_-]?key|session[\s_-]?id"
    r"|amz[_-]signature|(?<![\w-])(?:signature|sig)(?==(?!SIG[A-Z]))|(?<=[?&])key(?==))"
)
_ABOUT = (
    r"(?!s?[_-]?(?:count|type|limits?|usage|bucket|class|name|field|length|len|size|age|ttl|lifetime|expiry|expires"
    r"|endpoint|file|path|stdin|policy|manager|(?:changed|created|updated|reset|expires?|issued)[_-]?(?:at|on|in)"
    r"|errors?|exceptions?|warnings?)(?![\w-]))"
)
# The letters that they begin with: sooner looked for.
_NAME = rf"(?=[pstjcaemk])(?<!invalid)(?:{_WORD}|authorization|cookie){_ABOUT}"
_WHOLE_NAME = rf"(?=[\w-]{{0,32}}(?:{_NAME}))[\w-]{{1,96}}+"

_NOTHING = re.compile(
    r"""[\s"'\\]{0,16}+(?:true|false|none|null|nil|undefined|str|bytes|int|bool)?[\s"'\\.]{0,16}+""",
    re.IGNORECASE,
)
_CALL = re.compile(r"[A-Za-z_][\w.]{0,64}\(")  # a line of a program, in a traceback
_FEW_DIGITS = re.compile(
    r"""[\s"'\\]{0,16}+[+-]?\d{1,5}(?:\.\d{0,6})?(?:%|[mµun]?s)?[\s"'\\.]{0,16}+"""
)
_NUMBERS = re.compile(rf"""[\d\s,._/\[\](){{}}"'\\+-]{_ANY}[kKmM%]?\W?""")
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)

_QUOTE = r"""\\{0,7}["']"""  # of JSON within a text there are backslashes before it
_TO_QUOTE = rf"""(?:[^"'\\]{_SOME}|(?!(?<!\\)(?P=quote))[\s\S]){_ANY}"""
_QUOTED = (
    rf"""[bruf]{{0,2}}(?P<quote>{_QUOTE}){_TO_QUOTE}(?P=quote)"""  # as Python and JSON do
    rf"""|[bruf]{{0,2}}{_QUOTE}[^\r\n]{_ANY}"""  # that does not end
)
_FLAT = rf"""[^\[\]{{}}"']{_SOME}|"(?:[^"\\]|\\.){_ANY}"|'(?:[^'\\]|\\.){_ANY}'"""
_NESTED = (
    rf"[\[{{](?:{_FLAT}|[\[{{](?:{_FLAT}|[\[{{](?:{_FLAT}){_ANY}[\]}}]){_ANY}[\]}}]){_ANY}[\]}}]"
    rf"|[\[{{][^\]}}\r\n]{_ANY}[\]}}]?"
)
_BARE = r"""[^\s,;&"'\])}]"""
_VALUE = (
    rf"(?P<value>(?:{_QUOTED}|{_NESTED}){_BARE}{_ANY}|(?:(?:Bearer|Basic)\s{{1,8}})?{_BARE}{_SOME})"
)
_SCHEME = r"(?:Bearer|Basic|Digest|Token|Negotiate|NTLM|DPoP|OAuth|Hawk|Signature|ApiKey|SharedKey|AWS4-[\w-]{1,32})[ \t]{1,8}"
_PARAMETERS = r"""(?:=\\{0,7}"[^"\r\n]{0,4096}"|[^\r\n"'\\]){1,25000}+"""
_NO_WORD = r"(?=[a-z._~+/-]{0,64}[0-9=+/_]|(?-i:[A-Z]{0,64}[a-z]{1,64}[A-Z]))"
_KEY_END = r"PRIVATE KEY(?: BLOCK)? ?-{4,5}"

Hide = str | Callable[[re.Match[str]], str]


def is_secret(name: str, value: Any) -> bool:
    """Return whether what a field of this name has for a value (as JSON has values) is one to hide."""
    found = _SECRET_NAME.search(name)
    return found is not None and _tells(found, value)


def _tells(name: re.Match[str], value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(
            _tells(name, inner) for inner in (value.values() if isinstance(value, dict) else value)
        )
    text = "" if value is None else str(value)
    if _NOTHING.fullmatch(text):
        return False
    if name["password"]:
        return True
    return not (_CALL.match(text) or (_NUMBERS if name["many"] else _FEW_DIGITS).fullmatch(text))


def _hide(match: re.Match[str]) -> str:
    return match["name"] + MASKED if _tells(match, match["value"]) else match[0]


def _look(
    holds: str, pattern: str, hide: Hide = _hide, *, any_case: bool = True
) -> tuple[tuple[str, ...], re.Pattern[str], Hide]:
    return (
        tuple(holds.split("|")),
        re.compile(pattern, re.IGNORECASE if any_case else re.NOFLAG),
        hide,
    )


IN_TEXT = (
    # The password of a URL (RFC 3986, 3.2.1). It may hold an @ or a / that nobody escaped, but a port is none. A user alone
    # is a token where there is a web server.
    _look(
        "@",
        r"""(?<=://)([^\s/:@"<>]{0,256}+):(?!//|\d{1,5}(?:[/?#,"'\s]|$))"""
        r"""(?:(?:(?:[^\s"<>?#:@]{1,1024}+|:(?!//)){0,64}+@){1,64}+|(?:[^\s"<>:@]{1,1024}+|:(?!//)){1,64}+@)""",
        rf"\1:{MASKED}@",
    ),
    _look("@", r"""(?:(?<=http://)|(?<=https://))[^\s/:@"<>?#]{1,1024}+(?=@)""", MASKED),
    # A private key (RFC 7468; RFC 9580, 6.2), also one whose beginning is cut off.
    _look(
        "private key",
        rf"-{{4,5}} ?BEGIN [A-Z0-9 ]{{0,32}}{_KEY_END}(?:[^-]{_SOME}|-(?!---[- ]END)){_ANY}"
        rf"(?:----[- ]END [A-Z0-9 ]{{0,32}}{_KEY_END})?"
        rf"|\A[A-Za-z0-9+/=\s\\]{_SOME}-{{4,5}} ?END [A-Z0-9 ]{{0,32}}{_KEY_END}",
        MASKED,
        any_case=False,
    ),
    # A JSON Web Token (RFC 7519).
    _look(
        "eyj",
        rf"\beyJ[A-Za-z0-9_-]{_SOME}\.[A-Za-z0-9_-]{_SOME}\.[A-Za-z0-9_-]{_ANY}",
        MASKED,
        any_case=False,
    ),
    # Tokens by which their makers let them be known: AWS, Google, GitHub, npm, Stripe, GitLab, Slack, PyPI, OpenAI, Anthropic.
    _look(
        "_|-|akia|asia|aiza",
        r"(?<![A-Za-z0-9])(?:A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])|AIza[\w-]{35}(?![\w-])|gh[opsur]_[\w.-]{36,25000}+"
        r"|github_pat_\w{22,25000}+|npm_[A-Za-z0-9]{36,25000}+|[rs]k_live_\w{10,25000}+|glpat-[\w.-]{20,25000}+"
        r"|xox[abeprs]-[\w-]{10,25000}+|pypi-AgE[\w-]{16,25000}+|sk-(?=[\w-]{0,64}\d)[\w-]{20,25000}+)",
        MASKED,
        any_case=False,
    ),
    # RFC 6750, 2.1 and RFC 7617: what follows the scheme, unless it is a word.
    _look(
        "bearer|basic",
        rf"\b(Bearer\s{{1,8}})(?:{_NO_WORD}[a-z0-9._~+/-]{{6,25000}}+|[a-z0-9]{{16,25000}}+)={{0,2}}"
        rf"|\b(Basic\s{{1,8}}){_NO_WORD}[a-z0-9+/_-]{{6,25000}}+={{0,2}}",
        rf"\1\2{MASKED}",
    ),
    # An option of a command line and its argument, a pair (a header of ASGI), SQL; what is named; an element of XML.
    _look(
        "--",
        rf"""(?<![\w-])(?P<name>--{_WHOLE_NAME}(?:{_QUOTE},\s{{0,4}}|\s{{1,4}}))(?!-)(?P<value>(?:{_QUOTED}){_BARE}{_ANY}|\*\*\*(?!{_BARE})|[^\s"']{_SOME})""",
    ),
    _look(
        "(|[",
        rf"(?P<name>[\[(]\s?[bruf]{{0,2}}{_QUOTE}{_WHOLE_NAME}{_QUOTE},\s{{0,4}})(?P<value>[bruf]{{0,2}}(?P<quote>{_QUOTE}){_TO_QUOTE}(?P=quote))"
        r"(?=\s?,?\s?[\])])",
    ),
    _look(
        "'|\"",
        r"(?P<name>(?P<password>\bpassw(?:or)?d\s{1,4}(?=')|\bidentified\s{1,4}(?:with\s{1,4}[\w\"'`]{1,64}\s{1,4})?(?:by|as)\s{1,4}))"
        r"(?P<value>(?:'[^'\r\n]{0,4096}'){1,64}+|\"[^\"\r\n]{0,4096}\")(?P<many>)",
    ),
    _look(
        "=|:",
        rf"(?P<name>{_NAME}[\w-]{{0,64}}+(?<!authorization)(?<!cookie)(?:{_QUOTE})?\s{{0,8}}(?:=>|:=|={{1,2}}|:(?!:))\s{{0,8}})"
        rf"{_VALUE}",
    ),
    _look(
        "</",
        rf"(?P<name><(?=[\w:.-]{{0,32}}(?:{_NAME}))[\w:.-]{{1,96}}+(?:\s[^<>]{{0,256}}+)?>)(?P<value>[^<]{_SOME})(?=</)",
    ),
    # Any other scheme (RFC 9110, 11.6.2) with its parameters, and cookies (RFC 6265): up to the quote or to the end of the line.
    _look(
        "authorization",
        rf"(authorization(?:{_QUOTE})?\s{{0,8}}[=:]\s{{0,8}})"
        rf"(?:([bruf]{{0,2}}(?P<quote>{_QUOTE})(?:{_SCHEME})?){_TO_QUOTE}(?=(?P=quote))"
        rf"|({_SCHEME})?(?:(?=[\w-]{{1,32}}=[^=\s]){_PARAMETERS}"
        r"""|\*\*\*(?![^\s"',;\\)\]}])|[^\s"',;\\)\]}]{1,25000}+(?:[ \t]{1,4}[^\s"',;\\=:]{6,25000}+(?![=:]))?))""",
        rf"\1\2\4{MASKED}",
    ),
    _look(
        "cookie",
        rf"(cookie(?:{_QUOTE})?\s{{0,8}}[=:]\s{{0,8}})(?:([bruf]{{0,2}}(?P<quote>{_QUOTE})){_TO_QUOTE}(?=(?P=quote))|{_PARAMETERS})",
        rf"\1\2{MASKED}",
    ),
)
"""Of each look: what a text has to hold for it, in small letters (one of these); the expression; and what is put there."""


# In small letters and each beginning with one of its own, which is several times as fast as in any case.
_HINT = re.compile(
    r"://[^\s/]{0,1024}@|://[^\s/:]{0,256}:|pass(?:w|phrase|(?![a-z]))|pwd|pw(?![a-z0-9])|secret|token|jwt|credential|auth(?:orization|(?![a-z]))"
    r"|cookie|api[\s_-]?key|access[\s_-]?key|private[\s_-]?key|encryption[_-]?key|signing[_-]?key|account[_-]?key|shared[_-]?key"
    r"|master[_-]?key|auth[_-]?key|key=|session[\s_-]?id|signature=|sig=|amz[_-]signature|identified\s|bearer\s|basic\s|eyj"
    r"|akia|asia|aiza|gh[opsur]_|github_pat_|npm_|[rs]k_live_|glpat-|xox|pypi-|sk-"
)


def may_hold_one(text: str, lower: str) -> bool:
    """Return whether a text, as it is and in small letters, may hold a secret. Most do not: a look for words is cheapest."""
    # One letter is found in a quarter of the time that a word takes, and a long word sooner than a short one.
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

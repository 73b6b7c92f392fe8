"""Names whose values are secrets, such as `DB_PASSWORD`, `api_key` or `Authorization`.

Values that cannot be secrets stay readable: true, false, none, and numbers of at most five digits
(except in a password, which may consist of digits). So do names that describe a secret
(`token_type`) or count tokens (`max_tokens`).
"""

import re
from typing import Any

ANY = "{0,25000}+"
SOME = "{1,25000}+"
"""Any number of characters. 25,000 is more than the longest text that is searched: 16,000
characters of a traceback and 5,000 beyond it. `+` makes the quantifier possessive: it never gives
characters back, so no text takes long."""

_PASSWORDS = (
    r"(?P<password>(?<!/etc/)passw(?:or)?d(?!less)|passphrase|pwd|(?<![^\W_])pw(?![\w-])"
    r"|(?:(?<=[a-z0-9]_)|(?-i:(?<=[a-z])(?=P))|(?<=db)|(?<=smtp)|(?<=ftp)|(?<=sql)|(?<=user)"
    r"|(?<=mail)|(?<=root)|(?<=admin))pass(?![\w-]))"
)
_TOKENS = (  # but not prompt_tokens or prompt_tokens_details, which count those of a language model
    r"token(?!i[sz])(?!(?<=[_-]token)(?<!access.token)(?<!refresh.token)(?<!auth.token)"
    r"(?<!api.token)s(?:_[a-z]|(?![\w-])))(?P<many>s)?"
)
_WORD = (
    rf"(?:{_PASSWORDS}|(?<![\w-])(?:pass|auth)(?![\w-])|secret(?!ar|ion)(?:\skey)?|{_TOKENS}|jwt"
    r"|credential|(?:api|access)[\s_-]?key"
    r"|(?:private|encryption|signing|account|shared|master|auth)[_-]?key|session[\s_-]?id"
    r"|amz[_-]signature|(?<![\w-])(?:signature|sig)(?==(?!SIG[A-Z]))|(?<=[?&])key(?==))"
)
_DESCRIBES = (  # names that describe a secret end in one of these: token_type, password_changed_at
    r"(?!s?[_-]?(?:count|type|limits?|usage|bucket|class|name|field|length|len|size|age|ttl"
    r"|lifetime|expiry|expires|endpoint|file|path|stdin|policy|manager"
    r"|(?:changed|created|updated|reset|expires?|issued)[_-]?(?:at|on|in)"
    r"|errors?|exceptions?|warnings?)(?![\w-]))"
)
# The lookahead lists the first letters of the words: it rejects most positions at once.
NAME = rf"(?=[pstjcaemk])(?<!invalid)(?:{_WORD}|authorization|cookie){_DESCRIBES}"
# The secret word begins within the first 33 characters of a name, and a name has at most 96.
WHOLE_NAME = rf"(?=[\w-]{{0,32}}(?:{NAME}))[\w-]{{1,96}}+"

# In the following, 16 characters are enough for quotes, backslashes and spaces around a value.
_NOTHING = re.compile(
    r"""[\s"'\\]{0,16}+(?:true|false|none|null|nil|undefined|str|bytes|int|bool)?"""
    r"""[\s"'\\.]{0,16}+""",
    re.IGNORECASE,
)
_CALL = re.compile(r"[A-Za-z_][\w.]{0,64}\(")  # a line of a program, in a traceback
# Up to 5 digits with 6 decimals, a percent sign or a unit of time: a count or a duration.
_FEW_DIGITS = re.compile(
    r"""[\s"'\\]{0,16}+[+-]?\d{1,5}(?:\.\d{0,6})?(?:%|[mµun]?s)?[\s"'\\.]{0,16}+"""
)
_NUMBERS = re.compile(rf"""[\d\s,._/\[\](){{}}"'\\+-]{ANY}[kKmM%]?\W?""")
_SECRET_NAME = re.compile(NAME, re.IGNORECASE)


def is_secret(name: str, value: Any) -> bool:
    """Return whether a field of this name holds a secret; `value` is a value of JSON."""
    found = _SECRET_NAME.search(name)
    return found is not None and holds_secret(found, value)


def holds_secret(name: re.Match[str], value: Any) -> bool:
    """Return whether the value beside a name, a match of NAME, can be a secret."""
    if isinstance(value, dict | list):
        return any(
            holds_secret(name, inner)
            for inner in (value.values() if isinstance(value, dict) else value)
        )
    text = "" if value is None else str(value)
    if _NOTHING.fullmatch(text):
        return False
    if name["password"]:
        return True
    return not (_CALL.match(text) or (_NUMBERS if name["many"] else _FEW_DIGITS).fullmatch(text))

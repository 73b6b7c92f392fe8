"""Where Redis is: one address, from a URL or from the environment. It never shows its password."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote

from pulseboard.wire.errors import ConfigError

DEFAULT_HOST, DEFAULT_PORT = "localhost", 6379
SENTINEL_PORT = 26_379

ENVIRONMENT = (
    "REDIS_URL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_DB",
)
"""Every variable that `from_env` reads. REDIS_URL wins; REDIS_HOST and REDIS_PORT are the seed's."""

TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")

_FORM = (
    "REDIS_URL must look like redis://[user:password@]host[:port][/db], redis+sentinel://[…@]host[:port],…/master[/db], "
    "redis+cluster://[…@]host[:port],…, each with rediss for TLS, or unix:///path"
)
_URL = re.compile(
    r"(?:([^:/?#]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL
)  # RFC 3986, appendix B
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:,\s]+))(?::([0-9]*))?")


class Endpoint(NamedTuple):
    """A host and a port of it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class RedisAddress:
    """The address of one Redis. `given` is False when nobody named it, so that localhost is only a guess.

    With `nodes` the Redis is to be located: they are the sentinels to be asked for `master`, or nodes of a cluster.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    path: str | None = None
    given: bool = True
    nodes: tuple[Endpoint, ...] = ()
    master: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_check_hostname: bool = True

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse the address of a Redis of any kind; raise ConfigError, without the password, for anything else."""
        match = _URL.fullmatch(url)
        scheme, authority, path, query, fragment = (
            match.groups("") if match else ("", "", "", "", "")
        )
        kind, _, arrangement = scheme.lower().partition("+")
        if kind not in ("redis", "rediss", "unix") or arrangement not in (
            "",
            "sentinel",
            "cluster",
        ):
            raise ConfigError(f"{_FORM}; its scheme is {scheme or 'missing'!r}")
        if fragment:
            raise ConfigError(f"{_FORM}; nothing after '#' is read")
        who, _, where = authority.rpartition("@")
        if not set(who).isdisjoint("[]"):
            raise ConfigError(
                f"{_FORM}; in a user's name or password, write [ and ] percent-encoded"
            )
        username, _, password = who.partition(":")
        known: dict[str, Any] = {
            "username": unquote(username) or None,
            "password": unquote(password) or None,
        }
        known |= {"tls": kind == "rediss"} | _parse_options(
            query, tls=kind == "rediss", arrangement=arrangement
        )
        if kind == "unix":
            if not path or where or arrangement:
                raise ConfigError(f"{_FORM}; it names no socket by its absolute path")
            return cls(path=unquote(path), **known)
        if not where:
            raise ConfigError(f"{_FORM}; it names no host")
        nodes = tuple(
            _parse_endpoint(part, SENTINEL_PORT if arrangement == "sentinel" else DEFAULT_PORT)
            for part in (where.split(",") if arrangement else [where])
        )
        path = path.strip("/")
        if arrangement == "sentinel":
            master, _, path = path.partition("/")
            known["master"] = unquote(master)
            if not master:
                raise ConfigError(f"{_FORM}; it does not name the master that the sentinels watch")
        # Not shown: what stands behind the host may be the rest of a password that holds a '/'.
        db = _parse_number("the database in REDIS_URL", path or "0", 0, 1_000_000, shown=False)
        if arrangement == "cluster" and db:
            raise ConfigError(f"{_FORM}; a cluster has database 0 alone")
        return cls(*nodes[0], db, nodes=nodes if arrangement else (), **known)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, url: str | None = None) -> Self:
        """Return the address that `url` or the environment names, else the guess localhost:6379; raise ConfigError."""
        env = os.environ if env is None else env
        url = url or env.get("REDIS_URL")
        if url:
            return cls.parse(url.strip())
        host = env.get("REDIS_HOST") or DEFAULT_HOST
        if not set(host).isdisjoint("/@ "):
            raise ConfigError(
                "REDIS_HOST must be a host alone; a whole address goes into REDIS_URL"
            )
        return cls(
            host=host,
            port=_parse_number("REDIS_PORT", env.get("REDIS_PORT") or str(DEFAULT_PORT), 1, 65_535),
            db=_parse_number("REDIS_DB", env.get("REDIS_DB") or "0", 0, 1_000_000),
            username=env.get("REDIS_USERNAME") or None,
            password=env.get("REDIS_PASSWORD") or None,
            given=any(env.get(name) for name in ENVIRONMENT),
        )

    def __str__(self) -> str:
        """The URL, with `***` for the passwords."""
        return self._format(lambda _: "***")

    @property
    def url(self) -> str:
        """The whole URL, passwords included: for handing on to a child process, never for a log."""
        return self._format(lambda secret: quote(secret, safe=""))

    @property
    def endpoint(self) -> Endpoint:
        """The host and port of a Redis that need not be located."""
        return Endpoint(self.host, self.port)

    def tls_options(self) -> dict[str, Any]:
        """Return how TLS is spoken, as keyword arguments of redis-py."""
        return {name: getattr(self, name) for name in TLS_OPTIONS} if self.tls else {}

    def _format(self, hide: Callable[[str], str]) -> str:
        secret = f":{hide(self.password)}" if self.password else ""
        who = (
            f"{quote(self.username or '', safe='')}{secret}@"
            if self.username or self.password
            else ""
        )
        if self.path is not None:
            return f"unix://{who}{quote(self.path)}"
        arrangement = "" if not self.nodes else "+cluster" if self.master is None else "+sentinel"
        where = ",".join(map(str, self.nodes or (self.endpoint,)))
        path = f"/{quote(self.master, safe='')}" if self.master else ""
        if self.db:
            path += f"/{self.db}"
        return f"{'rediss' if self.tls else 'redis'}{arrangement}://{who}{where}{path}{self._format_options(hide)}"

    def _format_options(self, hide: Callable[[str], str]) -> str:
        options = [
            f"{name}={quote(value)}" for name in TLS_OPTIONS[:3] if (value := getattr(self, name))
        ]
        if not self.ssl_check_hostname:
            options.append("ssl_check_hostname=false")
        if self.sentinel_username:
            options.append(f"sentinel_username={quote(self.sentinel_username, safe='')}")
        if self.sentinel_password:
            options.append(f"sentinel_password={hide(self.sentinel_password)}")
        return f"?{'&'.join(options)}" if options else ""


def _parse_options(query: str, *, tls: bool, arrangement: str) -> dict[str, Any]:
    allowed = (
        *(TLS_OPTIONS if tls else ()),
        *(SENTINEL_OPTIONS if arrangement == "sentinel" else ()),
    )
    options: dict[str, Any] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        # Not shown: it may be the rest of a password that holds a '?'.
        if name not in allowed or not value:
            read = f"those read here are {', '.join(allowed)}" if allowed else "none is read here"
            raise ConfigError(f"{_FORM}; of the options after '?' {read}, each with a value")
        options[name] = unquote(value)
    if (check := options.get("ssl_check_hostname")) is not None:
        if check not in ("true", "false"):
            raise ConfigError("ssl_check_hostname in REDIS_URL must be true or false")
        options["ssl_check_hostname"] = check == "true"
    return options


def _parse_endpoint(text: str, default_port: int) -> Endpoint:
    match = _HOST.fullmatch(text)
    port = int(match[3] or default_port) if match else 0
    if match is None or not 0 < port <= 65_535:
        # Where a password holds a '/' or '#', what stands here is half of it.
        raise ConfigError(
            f"{_FORM}; its host or port cannot be read (in a password, write % / # ? @ : percent-encoded)"
        )
    return Endpoint((match[1] or match[2]).lower(), port)


def _parse_number(name: str, text: str, low: int, high: int, *, shown: bool = True) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ConfigError(
            f"{name} must be a number from {low} to {high}{f', not {text[:40]!r}' if shown else ''}"
        )
    return number

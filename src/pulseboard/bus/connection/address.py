"""The address of Redis, from a URL or the environment; its text never shows a password."""

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
"""Every variable that `from_env` reads. REDIS_URL overrides the others.

REDIS_HOST and REDIS_PORT are those of the original specification.
"""

TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")

_FORM = (
    "REDIS_URL must look like redis://[user:password@]host[:port][/db], "
    "redis+sentinel://[…@]host[:port],…/master[/db], redis+cluster://[…@]host[:port],…, "
    "each with rediss for TLS, or unix:///path"
)
_URL = re.compile(
    r"(?:([^:/?#]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL
)  # RFC 3986, appendix B
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:,\s]+))(?::([0-9]*))?")


class Endpoint(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class RedisAddress:
    """The address of one Redis.

    `given` is False when neither a URL nor the environment names it, so that localhost is a guess.
    With `nodes`, a locator must find the node: they are sentinels that know `master`, or nodes of a
    cluster.
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
        """Parse the URL of a Redis, Sentinel or Cluster.

        Raises ConfigError; its message does not contain the password.
        """
        match = _URL.fullmatch(url)
        scheme, authority, path, query, fragment = (
            match.groups("") if match else ("", "", "", "", "")
        )
        kind, topology = _parse_scheme(scheme)
        if fragment:
            raise ConfigError(f"{_FORM}; a '#' and the text after it are not allowed")
        userinfo, _, hosts = authority.rpartition("@")
        known = _parse_userinfo(userinfo) | {"tls": kind == "rediss"}
        known |= _parse_options(query, tls=kind == "rediss", topology=topology)
        if kind == "unix":
            if not path or hosts or topology:
                raise ConfigError(f"{_FORM}; the absolute path of the socket is missing")
            return cls(path=unquote(path), **known)
        if not hosts:
            raise ConfigError(f"{_FORM}; the host is missing")
        nodes = tuple(
            _parse_endpoint(part, SENTINEL_PORT if topology == "sentinel" else DEFAULT_PORT)
            for part in (hosts.split(",") if topology else [hosts])
        )
        path = path.strip("/")
        if topology == "sentinel":
            master, _, path = path.partition("/")
            known["master"] = unquote(master)
            if not master:
                raise ConfigError(
                    f"{_FORM}; the name of the master that the sentinels watch is missing"
                )
        # Not shown: the text after the host may be the rest of a password that contains a '/'.
        db = _parse_number("the database in REDIS_URL", path or "0", 0, 1_000_000, shown=False)
        if topology == "cluster" and db:
            raise ConfigError(f"{_FORM}; a cluster has only database 0")
        return cls(*nodes[0], db, nodes=nodes if topology else (), **known)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, url: str | None = None) -> Self:
        """Return the address from `url` or the environment, else localhost:6379.

        Raises ConfigError when either is invalid.
        """
        env = os.environ if env is None else env
        url = url or env.get("REDIS_URL")
        if url:
            return cls.parse(url.strip())
        host = env.get("REDIS_HOST") or DEFAULT_HOST
        if not set(host).isdisjoint("/@ "):
            raise ConfigError(
                "REDIS_HOST must be a host name only; put a whole address into REDIS_URL"
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
        """The URL, with `***` in place of the passwords."""
        return self._format(lambda _: "***")

    @property
    def url(self) -> str:
        """The URL with its passwords: to pass on to a child process, never for a log."""
        return self._format(lambda secret: quote(secret, safe=""))

    @property
    def endpoint(self) -> Endpoint:
        """The host and port of a Redis without a locator."""
        return Endpoint(self.host, self.port)

    def tls_options(self) -> dict[str, Any]:
        """Return the TLS options as keyword arguments of redis-py."""
        return {name: getattr(self, name) for name in TLS_OPTIONS} if self.tls else {}

    def _format(self, format_secret: Callable[[str], str]) -> str:
        secret = f":{format_secret(self.password)}" if self.password else ""
        userinfo = (
            f"{quote(self.username or '', safe='')}{secret}@"
            if self.username or self.password
            else ""
        )
        if self.path is not None:
            return f"unix://{userinfo}{quote(self.path)}"
        topology = "" if not self.nodes else "+cluster" if self.master is None else "+sentinel"
        hosts = ",".join(map(str, self.nodes or (self.endpoint,)))
        path = f"/{quote(self.master, safe='')}" if self.master else ""
        if self.db:
            path += f"/{self.db}"
        scheme = f"{'rediss' if self.tls else 'redis'}{topology}"
        return f"{scheme}://{userinfo}{hosts}{path}{self._format_options(format_secret)}"

    def _format_options(self, format_secret: Callable[[str], str]) -> str:
        options = [
            f"{name}={quote(value)}" for name in TLS_OPTIONS[:3] if (value := getattr(self, name))
        ]
        if not self.ssl_check_hostname:
            options.append("ssl_check_hostname=false")
        if self.sentinel_username:
            options.append(f"sentinel_username={quote(self.sentinel_username, safe='')}")
        if self.sentinel_password:
            options.append(f"sentinel_password={format_secret(self.sentinel_password)}")
        return f"?{'&'.join(options)}" if options else ""


def _parse_scheme(scheme: str) -> tuple[str, str]:
    kind, _, topology = scheme.lower().partition("+")
    known_kind = kind in ("redis", "rediss", "unix")
    if not known_kind or topology not in ("", "sentinel", "cluster"):
        raise ConfigError(f"{_FORM}; its scheme is {scheme or 'missing'!r}")
    return kind, topology


def _parse_userinfo(userinfo: str) -> dict[str, Any]:
    if not set(userinfo).isdisjoint("[]"):
        raise ConfigError(f"{_FORM}; write [ and ] percent-encoded in a user name or password")
    username, _, password = userinfo.partition(":")
    return {"username": unquote(username) or None, "password": unquote(password) or None}


def _parse_options(query: str, *, tls: bool, topology: str) -> dict[str, Any]:
    allowed = (
        *(TLS_OPTIONS if tls else ()),
        *(SENTINEL_OPTIONS if topology == "sentinel" else ()),
    )
    options: dict[str, Any] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        # Not shown: it may be the rest of a password that contains a '?'.
        if name not in allowed or not value:
            names = f"only {', '.join(allowed)}, each with a value" if allowed else "no options"
            raise ConfigError(f"{_FORM}; after '?' it accepts {names}")
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
        # Not shown: if a password contains a '/' or '#', this text is a part of it.
        raise ConfigError(
            f"{_FORM}; its host or port is invalid "
            "(in a password, write % / # ? @ : percent-encoded)"
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

"""Where Redis is: one address, from a URL or from the environment. It never shows its password."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from pulseboard.wire.errors import ConfigError

DEFAULT_HOST, DEFAULT_PORT = "localhost", 6379
SCHEMES = ("redis", "rediss", "unix")

ENVIRONMENT = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB")
"""Every variable that `from_env` reads. REDIS_URL wins; REDIS_HOST and REDIS_PORT are the seed's."""


@dataclass(frozen=True)
class RedisAddress:
    """The address of one Redis. `given` is False when nobody named it, so that localhost is only a guess."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    path: str | None = None
    given: bool = True

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse `redis://`, `rediss://` (TLS) or `unix://`; raise ConfigError, without the password, for anything else."""
        problem = (
            "REDIS_URL must look like redis://[user:password@]host[:port][/db], rediss://… for TLS, or unix:///path"
        )
        try:
            parts = urlsplit(url)
            port = DEFAULT_PORT if parts.port is None else parts.port
        except ValueError:
            # Where a password holds a '/' or '#', the cause would quote half of it as the port.
            raise ConfigError(
                f"{problem}; its host or port cannot be read (in a password, write % / # ? @ : percent-encoded)"
            ) from None
        if not port:
            raise ConfigError(f"{problem}; there is no port 0")
        if parts.scheme not in SCHEMES:
            raise ConfigError(f"{problem}; its scheme is {parts.scheme or 'missing'!r}")
        if parts.query or parts.fragment:
            raise ConfigError(f"{problem}; options after '?' or '#' are not read")
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if parts.scheme == "unix":
            if not parts.path or parts.hostname:
                raise ConfigError(f"{problem}; it names no socket by its absolute path")
            return cls(path=unquote(parts.path), username=username, password=password)
        if not parts.hostname:
            raise ConfigError(f"{problem}; it names no host")
        # Not shown: what stands behind the host may be the rest of a password that holds a '/'.
        db = _parse_number("the database in REDIS_URL", parts.path.strip("/") or "0", 0, 1_000_000, shown=False)
        return cls(parts.hostname, port, db, username, password, tls=parts.scheme == "rediss")

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, url: str | None = None) -> Self:
        """Return the address that `url` or the environment names, else the guess localhost:6379; raise ConfigError."""
        env = os.environ if env is None else env
        url = url or env.get("REDIS_URL")
        if url:
            return cls.parse(url.strip())
        host = env.get("REDIS_HOST") or DEFAULT_HOST
        if not set(host).isdisjoint("/@ "):
            raise ConfigError("REDIS_HOST must be a host alone; a whole address goes into REDIS_URL")
        return cls(
            host=host,
            port=_parse_number("REDIS_PORT", env.get("REDIS_PORT") or str(DEFAULT_PORT), 1, 65_535),
            db=_parse_number("REDIS_DB", env.get("REDIS_DB") or "0", 0, 1_000_000),
            username=env.get("REDIS_USERNAME") or None,
            password=env.get("REDIS_PASSWORD") or None,
            given=any(env.get(name) for name in ENVIRONMENT),
        )

    def __str__(self) -> str:
        """The URL, with `***` for the password."""
        return self._format("***")

    @property
    def url(self) -> str:
        """The whole URL, password included: for handing on to a child process, never for a log."""
        return self._format(quote(self.password, safe="") if self.password else "")

    def connection_options(self) -> dict[str, Any]:
        """Return the address as keyword arguments of redis-py's clients."""
        options: dict[str, Any] = {"db": self.db, "username": self.username, "password": self.password}
        if self.path is not None:
            return options | {"unix_socket_path": self.path}
        return options | {"host": self.host, "port": self.port, "ssl": self.tls}

    def _format(self, password: str) -> str:
        secret = f":{password}" if self.password else ""
        who = f"{quote(self.username or '', safe='')}{secret}@" if self.username or self.password else ""
        if self.path is not None:
            return f"unix://{who}{quote(self.path)}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{who}{host}:{self.port}{f'/{self.db}' if self.db else ''}"


def _parse_number(name: str, text: str, low: int, high: int, *, shown: bool = True) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ConfigError(f"{name} must be a number from {low} to {high}{f', not {text[:40]!r}' if shown else ''}")
    return number

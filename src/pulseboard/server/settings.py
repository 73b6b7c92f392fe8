"""Every option of the server, once: the flags, the environment, `pulseboard.toml` and the documentation follow from here."""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from pydantic import (
    AliasChoices,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import DEFAULT_NAMESPACE, Keys
from pulseboard.bus.retention.limits import Limit, Limits
from pulseboard.hub.options import FORGET_S, WRITE_DEADLINE_S
from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.errors import ConfigError, InvalidName
from pulseboard.wire.events.command import check_command_key
from pulseboard.wire.names import DEFAULT_PREFIX, check_service_name

CONFIG_FILE = "pulseboard.toml"

_KEPT = Limits()
_KINDS = {
    "keep_feed": "feed",
    "keep_status": "status",
    "keep_logs": "log",
    "keep_metrics": "metric",
    "keep_audit": "audit",
}
_FEED_LEAST = 1_000
"""A shorter feed would be trimmed in any burst before the servers have read it."""


def _default_data_dir() -> Path:
    """Return the folder for a user's data (XDG Base Directory Specification; Apple's equivalent on macOS)."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "pulseboard"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "pulseboard"


class Settings(BaseSettings):
    """The options. Flags win over the environment (PULSEBOARD_*, and REDIS_URL), and that over `pulseboard.toml`."""

    model_config = SettingsConfigDict(
        env_prefix="PULSEBOARD_",
        extra="forbid",
        frozen=True,
        toml_file=CONFIG_FILE,
        populate_by_name=True,
    )

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Any but a loopback address needs a login, or --insecure-no-auth.",
    )
    port: int = Field(8765, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that serve, each with every service and its share of the readers.",
    )
    expect: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Services that must be there, separated by commas; they stand on the board before they are first seen.",
    )
    redis_url: str | None = Field(
        None,
        validation_alias=AliasChoices("redis_url", "REDIS_URL"),
        repr=False,  # it may hold a password
        description="redis://, rediss:// or unix:// URL; else REDIS_HOST and REDIS_PORT; else localhost:6379, started if "
        "there is none.",
    )
    insecure_no_auth: bool = Field(
        False, description="Listen on any address without a login. The page then says so."
    )
    command_key: str | None = Field(
        None,
        repr=False,
        description="Sign commands with this key, which services know too: they then obey no others. At least 16 characters; "
        "better in the environment than on a command line, which anyone here can read.",
    )
    refuse_external_commands: bool = Field(
        False,
        description="Pass on no commands that anyone publishes on service:commands; with a command key none is passed on.",
    )
    keepalive_s: float = Field(
        20.0, gt=0, le=3_600, description="Seconds between heartbeat comments on a quiet stream."
    )
    ping_s: float = Field(
        5.0,
        gt=0,
        le=3_600,
        description="Seconds between signs of life of the server on /api/stream.",
    )
    write_deadline_s: float = Field(
        WRITE_DEADLINE_S,
        gt=0,
        le=3_600,
        description="Seconds after which a reader that takes nothing is let go; it may come back and go on.",
    )
    forget_s: float = Field(
        FORGET_S,
        ge=1,
        le=365 * 86_400,
        description="Seconds without a sign of life after which an instance leaves the board; its history stays.",
    )
    stream_lifetime_s: float = Field(
        3_600.0,
        ge=0,
        le=86_400,
        description="Seconds until a stream is ended, give or take a tenth, for its reader to come back on any worker; "
        "0 never ends one.",
    )
    channel_prefix: str = Field(
        DEFAULT_PREFIX,
        min_length=1,
        max_length=64,
        description="What the pub/sub channels begin with.",
    )
    namespace: str = Field(
        DEFAULT_NAMESPACE,
        description="What the Redis keys begin with, so that several boards can share a Redis.",
    )
    max_event_bytes: int = Field(
        MAX_EVENT_BYTES, ge=1_024, le=1_048_576, description="The largest event taken, in bytes."
    )
    keep_feed: str = Field(
        str(_KEPT.feed),
        description="How much is kept of the feed, from which readers go on that come back: entries, megabytes and age; "
        "what is not named stays as it is by default.",
    )
    keep_status: str = Field(
        str(_KEPT.status), description="The same of the status history of each service."
    )
    keep_logs: str = Field(str(_KEPT.log), description="The same of the log of each service.")
    keep_metrics: str = Field(
        str(_KEPT.metric), description="The same of the metrics of each service."
    )
    keep_audit: str = Field(str(_KEPT.audit), description="The same of who sent which command.")

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where the embedded Valkey keeps its data, and the demo its database.",
    )

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Return the settings; a flag that is None was not given. Raise ConfigError with one line that says what to mend."""
        try:
            return cls(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            raise ConfigError(
                "; ".join(_describe(problem) for problem in error.errors())
            ) from error
        except SettingsError as error:
            raise ConfigError(f"the configuration cannot be read: {error}") from error
        except (ValueError, OSError) as error:
            raise ConfigError(f"{CONFIG_FILE} cannot be read: {error}") from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @field_validator("expect", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError("give the names separated by commas")
        return tuple(name.strip() for name in names if name.strip())

    @field_validator("command_key")
    @classmethod
    def _take_empty_for_none(cls, key: str | None) -> str | None:
        return key or None

    @field_validator("expect")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                check_service_name(name)
            except InvalidName as error:
                raise ValueError(str(error)) from error
        return names

    @field_validator(*_KINDS)
    @classmethod
    def _check_limit(cls, text: str, info: ValidationInfo) -> str:
        kind = _KINDS[str(info.field_name)]
        try:
            return str(
                Limit.parse(
                    text, getattr(_KEPT, kind), least_entries=_FEED_LEAST if kind == "feed" else 100
                )
            )
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        Keys(self.namespace)
        check_command_key(self.command_key)
        if not self.loopback and not self.insecure_no_auth:
            raise ValueError(
                f"anyone who can reach {self.host} could read this board, since no login is configured: "
                "listen on 127.0.0.1, or give --insecure-no-auth if that is what you want"
            )
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def accepts_external_commands(self) -> bool:
        """Whether what anyone publishes as a command is passed on: access to Redis alone must not do where there is a key."""
        return not self.refuse_external_commands and self.command_key is None

    @property
    def address(self) -> RedisAddress:
        """Where Redis is; raises ConfigError when what names it cannot be read."""
        return RedisAddress.from_env(url=self.redis_url)

    @property
    def keys(self) -> Keys:
        """The keys of the namespace."""
        return Keys(self.namespace)

    @property
    def limits(self) -> Limits:
        """How much is kept in Redis."""
        kept = {
            kind: Limit.parse(getattr(self, name), getattr(_KEPT, kind))
            for name, kind in _KINDS.items()
        }
        return msgspec.structs.replace(_KEPT, **kept)


def _describe(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return f"{name} is no option of Pulseboard"
    shown = (
        ""
        if "redis" in name.lower() or "key" in name.lower()
        else f" (it is {str(problem['input'])[:60]!r})"
    )
    return f"{name}: {message[:1].lower()}{message[1:]}{shown}"

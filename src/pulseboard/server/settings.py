"""The options of the server, each defined once.

The flags, the environment variables, the keys of `pulseboard.toml` and the documentation are
derived from here.
"""

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
from pulseboard.wire.kinds import HISTORIES
from pulseboard.wire.names import DEFAULT_PREFIX, check_service_name

CONFIG_FILE = "pulseboard.toml"

_DEFAULT_LIMITS = Limits()
_LIMITED = {
    "keep_feed": "feed",
    **{history.option: kind for kind, history in HISTORIES.items()},
    "keep_audit": "audit",
}
_FEED_MIN_ENTRIES = 1_000
"""A shorter feed could be trimmed during a burst, before the servers have read it."""
_HISTORY_MIN_ENTRIES = 100


def _default_data_dir() -> Path:
    """Return the user's data directory.

    Source: XDG Base Directory Specification; on macOS, its equivalent.
    """
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "pulseboard"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "pulseboard"


class Settings(BaseSettings):
    """The options of a server.

    Flags have precedence over the environment (PULSEBOARD_*, and REDIS_URL), and that over
    `pulseboard.toml`.
    """

    model_config = SettingsConfigDict(
        env_prefix="PULSEBOARD_",
        extra="forbid",
        frozen=True,
        toml_file=CONFIG_FILE,
        populate_by_name=True,
    )

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Any address but loopback needs a login, or "
        "--insecure-no-auth.",
    )
    port: int = Field(8765, ge=0, le=65_535, description="Port to listen on; 0 takes a free port.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of server processes. Each has the whole board and a share of the "
        "clients.",
    )
    expect: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Services that must exist, separated by commas. The board shows them as "
        "missing until they are seen.",
    )
    redis_url: str | None = Field(
        None,
        validation_alias=AliasChoices("redis_url", "REDIS_URL"),
        repr=False,  # it may contain a password
        description="redis://, rediss:// or unix:// URL. Without it, REDIS_HOST and REDIS_PORT are "
        "used; without those, localhost:6379, where an embedded Valkey starts if no Redis answers.",
    )
    insecure_no_auth: bool = Field(
        False,
        description="Listen on any address without a login. The page then shows a warning.",
    )
    command_key: str | None = Field(
        None,
        repr=False,
        description="Sign commands with this key, which services share; they then execute no "
        "other command. At least 16 characters. Set it in the environment rather than on a command "
        "line, which other users of the machine can read.",
    )
    refuse_external_commands: bool = Field(
        False,
        description="Refuse commands that programs publish on service:commands. With a command "
        "key, they are always refused.",
    )
    keepalive_s: float = Field(
        20.0, gt=0, le=3_600, description="Seconds between keep-alive comments on a quiet stream."
    )
    ping_s: float = Field(
        5.0,
        gt=0,
        le=3_600,
        description="Seconds between signs of life of the server on the event stream.",
    )
    write_deadline_s: float = Field(
        WRITE_DEADLINE_S,
        gt=0,
        le=3_600,
        description="Seconds after which the server closes a client that does not read. The "
        "client may reconnect and resume.",
    )
    forget_s: float = Field(
        FORGET_S,
        ge=1,
        le=365 * 86_400,
        description="Seconds without a sign of life after which an instance leaves the board. "
        "Its history is kept.",
    )
    stream_lifetime_s: float = Field(
        3_600.0,
        ge=0,
        le=86_400,
        description="Seconds after which a stream ends, give or take a tenth, so that its client "
        "reconnects to any worker; 0 means never.",
    )
    channel_prefix: str = Field(
        DEFAULT_PREFIX,
        min_length=1,
        max_length=64,
        description="Prefix of the pub/sub channels.",
    )
    namespace: str = Field(
        DEFAULT_NAMESPACE,
        description="Prefix of the Redis keys, so that several boards can share one Redis.",
    )
    max_event_bytes: int = Field(
        MAX_EVENT_BYTES,
        ge=1_024,
        le=1_048_576,
        description="Size of the largest event that is accepted, in bytes.",
    )
    keep_feed: str = Field(
        str(_DEFAULT_LIMITS.feed),
        description="Retention of the feed, from which clients resume: entries, megabytes and "
        "age. A part that is not given keeps its default.",
    )
    keep_status: str = Field(
        str(_DEFAULT_LIMITS.status),
        description="Retention of the status history of each service, in the same form.",
    )
    keep_logs: str = Field(
        str(_DEFAULT_LIMITS.log),
        description="Retention of the log of each service, in the same form.",
    )
    keep_metrics: str = Field(
        str(_DEFAULT_LIMITS.metric),
        description="Retention of the metrics of each service, in the same form.",
    )
    keep_audit: str = Field(
        str(_DEFAULT_LIMITS.audit),
        description="Retention of the audit of commands, in the same form.",
    )

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Directory of the embedded Valkey and of the demo's database.",
    )

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Return the settings; a flag that is None was not given.

        Raises ConfigError with one line that says what to correct.
        """
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
            raise ValueError("separate the names by commas")
        return tuple(name.strip() for name in names if name.strip())

    @field_validator("command_key")
    @classmethod
    def _treat_empty_as_absent(cls, key: str | None) -> str | None:
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

    @field_validator(*_LIMITED)
    @classmethod
    def _check_limit(cls, text: str, info: ValidationInfo) -> str:
        kind = _LIMITED[str(info.field_name)]
        try:
            return str(
                Limit.parse(
                    text,
                    getattr(_DEFAULT_LIMITS, kind),
                    least_entries=_FEED_MIN_ENTRIES if kind == "feed" else _HISTORY_MIN_ENTRIES,
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
                f"without a login, anyone who can reach {self.host} could read this board: "
                "listen on 127.0.0.1, or set --insecure-no-auth to allow it"
            )
        return self

    @property
    def loopback(self) -> bool:
        """Whether the server listens on an address that only this machine can reach."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def accepts_external_commands(self) -> bool:
        """Whether external commands are sent to services.

        With a command key they are not, because access to Redis alone must not be enough then.
        """
        return not self.refuse_external_commands and self.command_key is None

    @property
    def address(self) -> RedisAddress:
        """The address of Redis; raises ConfigError for an invalid one."""
        return RedisAddress.from_env(url=self.redis_url)

    @property
    def keys(self) -> Keys:
        """The keys of the namespace."""
        return Keys(self.namespace)

    @property
    def limits(self) -> Limits:
        """The retention limits in Redis."""
        limits = {
            kind: Limit.parse(getattr(self, name), getattr(_DEFAULT_LIMITS, kind))
            for name, kind in _LIMITED.items()
        }
        return msgspec.structs.replace(_DEFAULT_LIMITS, **limits)


def _describe(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return f"{name} is not an option of Pulseboard"
    shown = (
        ""
        if "redis" in name.lower() or "key" in name.lower()
        else f" (it is {str(problem['input'])[:60]!r})"
    )
    return f"{name}: {message[:1].lower()}{message[1:]}{shown}"

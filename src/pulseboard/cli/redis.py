"""The Redis of a command: the configured one, the one on localhost, or an embedded one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.probe import answers
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.server.settings import Settings
from pulseboard.wire.errors import ConfigError

log = logging.getLogger("pulseboard")


@contextmanager
def provide_redis(settings: Settings) -> Iterator[tuple[Settings, str]]:
    """Yield settings that name a Redis, and one line that describes it.

    A configured Redis need not be running yet.
    """
    address = settings.address
    if address.given:
        yield settings, f"{address}"
    elif answers(address):
        yield _name(settings, address), f"{address} (found there)"
    else:
        embedded = EmbeddedValkey(settings.data_dir / "valkey")
        try:
            embedded.start()
        except ConfigError:
            # Another Pulseboard process may have started a server on the same port.
            if not answers(address):
                raise
            yield _name(settings, address), f"{address} (found there)"
            return
        try:
            description = f"{embedded.address} (embedded Valkey, data in {embedded.data_dir})"
            yield _name(settings, embedded.address), description
        finally:
            embedded.stop()


def _name(settings: Settings, address: RedisAddress) -> Settings:
    return settings.model_copy(update={"redis_url": address.url})

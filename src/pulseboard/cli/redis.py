"""Which Redis a command uses: the one that was named, the one that is there, or an embedded one."""

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
    """Yield settings that name a Redis, and one line that says which. A Redis that was named need not be there yet."""
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
            # Another of us may have started one at the same moment.
            if not answers(address):
                raise
            yield _name(settings, address), f"{address} (found there)"
            return
        try:
            said = f"{embedded.address} (embedded Valkey, data in {embedded.data_dir})"
            yield _name(settings, embedded.address), said
        finally:
            embedded.stop()


def _name(settings: Settings, address: RedisAddress) -> Settings:
    return settings.model_copy(update={"redis_url": address.url})

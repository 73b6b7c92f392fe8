"""Asking whether Redis is there."""

import redis

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import open_client
from pulseboard.bus.connection.errors import describe_error
from pulseboard.wire.errors import ConfigError


def answers(address: RedisAddress, *, timeout_s: float = 1.0) -> bool:
    """Say whether a Redis answers at `address`; one that wants a password first does. Nobody there is False.

    Raises ConfigError when what listens there is no Redis.
    """
    client = open_client(address, None, timeout_s=timeout_s)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.ResponseError, redis.BusyLoadingError):
        return True
    except (redis.InvalidResponse, redis.TimeoutError, redis.ConnectionError, OSError) as error:
        strange = isinstance(
            error, redis.InvalidResponse | redis.TimeoutError
        ) or "closed by server" in describe_error(error)
        if not strange:
            return False
        raise ConfigError(
            f"what listens at {address} does not answer like Redis; set REDIS_URL to one that does"
        ) from error
    finally:
        client.close()
    return True

"""Checks whether a Redis answers at an address."""

import redis

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import open_client
from pulseboard.bus.connection.errors import describe_error
from pulseboard.wire.errors import ConfigError


def answers(address: RedisAddress, *, timeout_s: float = 1.0) -> bool:
    """Return whether a Redis answers at `address`, also with an error such as NOAUTH.

    Returns False if no program listens there. Raises ConfigError if a program listens that does not
    answer like Redis within `timeout_s`.
    """
    client = open_client(address, None, timeout_s=timeout_s)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.ResponseError, redis.BusyLoadingError):
        return True
    except (redis.InvalidResponse, redis.TimeoutError, redis.ConnectionError, OSError) as error:
        is_other_program = isinstance(
            error, redis.InvalidResponse | redis.TimeoutError
        ) or "closed by server" in describe_error(error)
        if not is_other_program:
            return False
        raise ConfigError(
            f"the program that listens at {address} does not answer like Redis; "
            "set REDIS_URL to the address of a Redis"
        ) from error
    finally:
        client.close()
    return True

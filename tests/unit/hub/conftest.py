"""Fixtures of the hub: no Redis and no sockets."""

from tests.support.hub import hub, rejections, unsliced_flushes

__all__ = ["hub", "rejections", "unsliced_flushes"]

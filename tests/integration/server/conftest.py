"""Fixtures of servers that run in the test process."""

from tests.support.server import any_server, http, publish, serve, server

__all__ = ["any_server", "http", "publish", "serve", "server"]

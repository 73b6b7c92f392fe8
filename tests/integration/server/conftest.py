"""Fixtures of servers that run in the test process, and of services that they command."""

from tests.support.commands import run_host, till
from tests.support.server import any_server, http, publish, serve, server, shout

__all__ = ["any_server", "http", "publish", "run_host", "serve", "server", "shout", "till"]

"""Fixtures of servers that run in the test process, and of services that they command."""

from tests.support.commands import run_instance, till
from tests.support.server import any_server, http, publish, publish_log, serve, server

__all__ = [
    "any_server",
    "http",
    "publish",
    "publish_log",
    "run_instance",
    "serve",
    "server",
    "till",
]

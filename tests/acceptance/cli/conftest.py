"""Fixtures of the command line: programs, and a board that they read."""

from tests.support.cli import ask_here, board, pulseboard, redis_env, stoppable_server

__all__ = ["ask_here", "board", "pulseboard", "redis_env", "stoppable_server"]

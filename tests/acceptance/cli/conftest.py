"""Fixtures of the command line: programs, and a board that they read."""

from tests.support.cli import board, pulseboard, redis_env, run_in_process, stoppable_server

__all__ = ["board", "pulseboard", "redis_env", "run_in_process", "stoppable_server"]

"""How the programs of the demo end: whatever is wrong with a command line is one line on standard error and exit code 2."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

USAGE = 2


def run_command(app: typer.Typer, name: str) -> NoReturn:
    """Run a program with the arguments of this process and exit."""
    try:
        code = app(prog_name=name, standalone_mode=False)
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        complain(name, message)
        code = USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def refuse(name: str, reason: object, code: int = USAGE) -> NoReturn:
    """End a command that cannot run, from within it."""
    complain(name, str(reason))
    raise typer.Exit(code)


def complain(name: str, reason: str) -> None:
    """Say what is wrong in one line."""
    print(f"{name}: {' '.join(reason.split())}", file=sys.stderr)

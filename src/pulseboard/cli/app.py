"""The `pulseboard` command: its subcommands, and how an error becomes one line and an exit code.

0: done. 1: the requested condition did not hold. 2: usage or configuration. 3: no server.
130: Ctrl-C.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from dotenv import load_dotenv
from typer.exceptions import TyperException

from pulseboard.cli.options import with_settings
from pulseboard.cli.queries import add_queries
from pulseboard.server.settings import Settings
from pulseboard.server.version import VERSION
from pulseboard.wire.errors import ConfigError, PulseboardError, ServerRefused, ServerUnreachable

app = typer.Typer(
    name="pulseboard",
    help="The live board of your background services.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run(argv: Sequence[str]) -> int:
    """Run a command line; return its exit code."""
    try:
        _load_dotenv()
        code = app(list(argv) or ["--help"], prog_name="pulseboard", standalone_mode=False)
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return _report(f"{message} (see pulseboard --help)", 2)
    except ConfigError as error:
        return _report(str(error), 2)
    except ServerUnreachable as error:
        return _report(str(error), 3)
    except ServerRefused as error:
        return _report(str(error), 2 if error.usage else 1)
    except PulseboardError as error:
        return _report(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return code if isinstance(code, int) else 0


def _load_dotenv() -> None:
    """Read `.env` like docker compose does; existing variables win."""
    try:
        load_dotenv(Path(".env"))
    except (OSError, ValueError) as error:
        raise ConfigError(f".env cannot be read: {error}") from error


def _report(message: str, code: int) -> int:
    print(f"pulseboard: {' '.join(message.split())}", file=sys.stderr)
    return code


def _show_version(requested: bool) -> None:
    if requested:
        print(f"pulseboard {VERSION}")
        raise typer.Exit


@app.callback()
def pulseboard(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """The live board of your background services."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for quiet in ("uvicorn.error", "httpx", "httpcore"):
        logging.getLogger(quiet).setLevel(logging.WARNING)


@app.command()
@with_settings
def serve(
    settings: Settings,
    fd: Annotated[
        int | None,
        typer.Option("--fd", help="Serve on this inherited socket instead of host and port."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Do not print the URL of the board.")
    ] = False,
    ready_fd: Annotated[
        int | None,
        typer.Option(
            "--ready-fd",
            help="Write a line to this inherited descriptor when the server is ready.",
        ),
    ] = None,
) -> None:
    """Serve the board: read the feed from Redis and stream it to every browser."""
    # Imported here, because the web framework would double the start-up time of other commands.
    from pulseboard.cli.serve import run_serve  # noqa: PLC0415

    raise typer.Exit(run_serve(settings, fd=fd, quiet=quiet, ready_fd=ready_fd))


@app.command()
@with_settings
def demo(
    settings: Settings,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", help="Seed of the simulated bank: the same seed gives the same bank."
        ),
    ] = 1,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            envvar="PULSEBOARD_DEMO_DATABASE_URL",
            help="sqlite:/// or postgresql:// URL; without it, a temporary SQLite file.",
        ),
    ] = None,
) -> None:
    """Run three real services against a simulated bank, and show them on one board."""
    from pulseboard.cli.demo import run_demo_board  # noqa: PLC0415

    raise typer.Exit(run_demo_board(settings, seed=seed, database_url=database_url))


add_queries(app)

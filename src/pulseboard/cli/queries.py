"""The commands that query a running server by its HTTP API: their arguments and exit codes.

0: done. 1: the condition did not hold, or the server refused. 2: usage. 3: no server.
130: Ctrl-C. 141: the reader of the output is gone.
"""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from pulseboard.cli.moment import Moment
from pulseboard.server.settings import Settings
from pulseboard.wire.errors import ConfigError, InvalidEvent, InvalidName
from pulseboard.wire.events.log import parse_level
from pulseboard.wire.names import check_service_name

PIPE_CLOSED = 141
"""The exit code that a shell reports for a program that SIGPIPE ended (128 + 13)."""
DEFAULT_SERVER = f"http://127.0.0.1:{Settings.model_fields['port'].default}"

Server = Annotated[
    str,
    typer.Option(
        "--server", envvar="PULSEBOARD_SERVER", metavar="URL", help="Address of the board."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Start: an age (10m, 2h, 3d) or a time (2026-11-25T03:00:00Z).",
    ),
]


def add_queries(app: typer.Typer) -> None:
    """Add the query commands to the program."""
    for command, examples in (
        (status, ("status", "status balance-sync --watch", "status --json | jq .services")),
        (
            logs,
            (
                "logs -f",
                "logs balance-sync --level error --since 2h",
                "logs --json --contains timeout",
            ),
        ),
        (history, ("history balance-sync -n 5", "history balance-sync --since 1d --json")),
        (
            wait,
            (
                "wait balance-sync=alive",
                "wait balance-sync=alive,phase=idle,failed=0 --timeout 300",
            ),
        ),
        (
            send,
            (
                "send balance-sync trigger user_id=7 --wait",
                "send balance-sync restart --instance host:1 --key deploy-42",
            ),
        ),
    ):
        epilog = "\n".join(("Examples:", *(f"$ pulseboard {each}" for each in examples)))
        app.command(epilog=epilog)(command)


def status(
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="SERVICE", help="Only these services.", show_default=False),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show changes live, until Ctrl-C.")
    ] = False,
    json: Json = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Show every service with the state of each instance."""
    from pulseboard.cli.status import show_status, watch_status  # noqa: PLC0415

    names = [_service(name) for name in services or []]
    _run(watch_status(server, names, json=json) if watch else show_status(server, names, json=json))


def logs(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE", help="The service; without it, all services.", show_default=False
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue with new lines, until Ctrl-C.")
    ] = False,
    level: Annotated[
        str | None,
        typer.Option("--level", metavar="LEVEL", help="This level and above: debug to critical."),
    ] = None,
    contains: Annotated[
        str | None,
        typer.Option(
            "--contains",
            metavar="TEXT",
            help="Only lines with this text, in any case; searches fields and traceback too.",
        ),
    ] = None,
    since: Since = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            metavar="N",
            min=0,
            help="Number of latest entries.",
            show_default="100; all with --since",
        ),
    ] = None,
    json: Json = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Show the log lines of a service, or of all services, in order."""
    from pulseboard.cli.logs import DEFAULT_LINES, LogSelection, show_logs  # noqa: PLC0415

    moment = None if since is None else Moment.parse("--since", since)
    latest = DEFAULT_LINES if lines is None and moment is None else lines
    selection = LogSelection(
        None if service is None else _service(service), _level(level), contains, moment, latest
    )
    _run(show_logs(server, selection, follow=follow, json=json))


def history(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="The service.", show_default=False)
    ],
    since: Since = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="End: an age or a time.")
    ] = None,
    events: Annotated[
        int | None,
        typer.Option(
            "--events",
            "-n",
            metavar="N",
            min=0,
            help="Number of latest entries.",
            show_default="20; all with --since",
        ),
    ] = None,
    json: Json = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Show the status history of a service, oldest first; changes are highlighted."""
    from pulseboard.cli.history import DEFAULT_EVENTS, show_history  # noqa: PLC0415

    start, end = (
        None if text is None else Moment.parse(option, text)
        for option, text in (("--since", since), ("--until", until))
    )
    latest = DEFAULT_EVENTS if events is None and start is None else events
    _run(show_history(server, _service(service), start, end, latest, json=json))


def wait(
    conditions: Annotated[
        list[str],
        typer.Argument(
            metavar="SERVICE=STATE[,FIELD=VALUE]",
            help="State and values of one instance.",
            show_default=False,
        ),
    ],
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, max=1e6, help="How long to wait."),
    ] = 60.0,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Wait until all conditions hold at the same time, for scripts and CI.

    A FIELD is a dotted path in the status (queue.depth). A VALUE is JSON if it is valid
    JSON, otherwise text. One instance must have all fields of a condition. The STATE
    missing waits until a service has no instance.

    The exit code is 0 when the conditions hold, 1 when they do not hold in time (the
    last observation is printed), and 3 when no server was reached.
    """
    from pulseboard.cli.condition import Condition  # noqa: PLC0415
    from pulseboard.cli.wait import wait_for  # noqa: PLC0415

    _run(wait_for(server, [Condition.parse(text) for text in conditions], timeout))


def send(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="The service.", show_default=False)
    ],
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="The command.", show_default=False)
    ],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE",
            help="Arguments; each value is JSON, otherwise text.",
            show_default=False,
        ),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(
            "--instance",
            metavar="NAME",
            help="Only this instance; without it, all that registered the command.",
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option("--deadline", metavar="SECONDS", help="Start within this time, or never."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the final receipt of every instance.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help="Idempotency key: the same key executes the command once."
        ),
    ] = None,
    json: Json = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Send a command to every instance that registered it, or to one instance.

    The exit code is 0 when the board accepted the command (with --wait: when all
    instances have done it), 1 when it was refused, failed or expired, or no instance
    listens, and 3 when no server was reached.
    """
    from pulseboard.cli.send import Request, parse_args  # noqa: PLC0415
    from pulseboard.cli.send import send as send_request  # noqa: PLC0415

    request = Request(_service(service), command, parse_args(args or []), instance, deadline, key)
    _run(send_request(server, request, wait=wait, json=json))


def _run(work: Coroutine[Any, Any, int]) -> None:
    try:
        code = asyncio.run(work)
        sys.stdout.flush()
    except BrokenPipeError:
        # At exit Python would flush the rest of the output and report the error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PIPE_CLOSED
    raise typer.Exit(code)


def _service(name: str) -> str:
    try:
        return check_service_name(name)
    except InvalidName as error:
        raise ConfigError(str(error)) from error


def _level(name: str | None) -> str | None:
    try:
        return None if name is None else parse_level(name)
    except InvalidEvent as error:
        raise ConfigError(f"--level: {error}") from error

"""The commands that ask a running server, through its HTTP API: what each takes, and which exit code it ends with.

0: done. 1: what was asked did not hold, or was refused. 2: usage. 3: the server cannot be reached.
130: Ctrl-C. 141: whoever read the output is gone.
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

READER_GONE = 141
"""What a shell says of a program that SIGPIPE ended, as most others are in its place."""
DEFAULT_SERVER = f"http://127.0.0.1:{Settings.model_fields['port'].default}"

Server = Annotated[
    str,
    typer.Option(
        "--server", envvar="PULSEBOARD_SERVER", metavar="URL", help="Where the board is served."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="From then on: 10m, 2h or 3d ago, or like 2026-11-25T03:00:00Z.",
    ),
]


def add_asking(app: typer.Typer) -> None:
    """Add the commands to the program."""
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
        bool, typer.Option("--watch", "-w", help="Show it as it changes, until Ctrl-C.")
    ] = False,
    json: Json = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Show every service and what the board makes of each of its instances."""
    from pulseboard.cli.status import show_status, watch_status  # noqa: PLC0415

    names = [_service(name) for name in services or []]
    _end(watch_status(server, names, json=json) if watch else show_status(server, names, json=json))


def logs(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE", help="The service; without it, all of them.", show_default=False
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
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
            help="Lines with this text, in any case, fields and traceback included.",
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
            help="The latest so many.",
            show_default="100; all with --since",
        ),
    ] = None,
    json: Json = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Show what a service logged, or what all of them did, in the order it came."""
    from pulseboard.cli.logs import DEFAULT_LINES, Wanted, show_logs  # noqa: PLC0415

    moment = None if since is None else Moment.parse("--since", since)
    latest = DEFAULT_LINES if lines is None and moment is None else lines
    wanted = Wanted(
        None if service is None else _service(service), _level(level), contains, moment, latest
    )
    _end(show_logs(server, wanted, follow=follow, json=json))


def history(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="The service.", show_default=False)
    ],
    since: Since = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Up to then.")
    ] = None,
    events: Annotated[
        int | None,
        typer.Option(
            "--events",
            "-n",
            metavar="N",
            min=0,
            help="The latest so many.",
            show_default="20; all with --since",
        ),
    ] = None,
    json: Json = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Show what a service said of its status, in the order it said it; on a terminal what changed stands out."""
    from pulseboard.cli.history import DEFAULT_EVENTS, show_history  # noqa: PLC0415

    start, end = (
        None if text is None else Moment.parse(option, text)
        for option, text in (("--since", since), ("--until", until))
    )
    latest = DEFAULT_EVENTS if events is None and start is None else events
    _end(show_history(server, _service(service), start, end, latest, json=json))


def wait(
    conditions: Annotated[
        list[str],
        typer.Argument(
            metavar="SERVICE=STATE[,FIELD=VALUE]",
            help="What one instance must be like.",
            show_default=False,
        ),
    ],
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, max=1e6, help="How long to wait."),
    ] = 60.0,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Wait until all conditions hold at once, by the stream: for scripts and CI.

    A FIELD is one of the status, by a dotted path (queue.depth); a VALUE is JSON where it
    is some, else text. One and the same instance must have all fields of a condition.
    The STATE missing waits for a service to have no instance at all.

    Ends with 0 when they hold, 1 when not within the time, after saying what was last
    seen, and 3 when no server was reached.
    """
    from pulseboard.cli.condition import Condition  # noqa: PLC0415
    from pulseboard.cli.wait import wait_for  # noqa: PLC0415

    _end(wait_for(server, [Condition.parse(text) for text in conditions], timeout))


def send(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="The service.", show_default=False)
    ],
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="What it shall do.", show_default=False)
    ],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE",
            help="What the command takes; JSON, else text.",
            show_default=False,
        ),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(
            "--instance", metavar="NAME", help="Only this instance; else all that offer it."
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(
            "--deadline", metavar="SECONDS", help="Begin within this time, or not at all."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until every instance has said what came of it.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="Sent again with the same key, it is done once."),
    ] = None,
    json: Json = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Tell a service to do what it offers: every instance that offers it, or one.

    Ends with 0 when the board took it, with --wait when all have done it; with 1 when it was
    refused, failed or expired, or nobody listens; with 3 when no server was reached.
    """
    from pulseboard.cli.send import SignedCommand, parse_args  # noqa: PLC0415
    from pulseboard.cli.send import send as send_order  # noqa: PLC0415

    order = SignedCommand(
        _service(service), command, parse_args(args or []), instance, deadline, key
    )
    _end(send_order(server, order, wait=wait, json=json))


def _end(work: Coroutine[Any, Any, int]) -> None:
    try:
        code = asyncio.run(work)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would write what is left at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = READER_GONE
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

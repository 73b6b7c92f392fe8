"""`pulseboard demo`."""

import asyncio
from importlib.util import find_spec

from pulseboard.cli.announce import announce, board_url
from pulseboard.cli.options import settings_environment
from pulseboard.cli.redis import provide_redis
from pulseboard.demo.supervisor import SERVICES, DemoSettings, run_demo
from pulseboard.server.hosting.socket import bind
from pulseboard.server.settings import Settings
from pulseboard.supervision.child import ChildSpec, python
from pulseboard.wire.errors import ConfigError


def run_demo_board(settings: Settings, *, seed: int, database_url: str | None) -> int:
    """Run the demo's bank, services and server as processes until Ctrl-C; return the exit code."""
    if missing := [
        name for name in ("sqlalchemy", "aiosqlite", "httpx") if find_spec(name) is None
    ]:
        raise ConfigError(
            f"the demo needs {', '.join(missing)}: run pip install 'pulseboard[demo]'"
        )
    with bind(settings.host, settings.port) as sock, provide_redis(settings) as (settings, redis):
        port = sock.getsockname()[1]
        # The server process inherits the socket, so no other program can take the port meanwhile.
        sock.set_inheritable(True)
        server = python("-m", "pulseboard", "serve", "--fd", str(sock.fileno()), "--quiet")
        announce(board_url(settings.host, sock), redis)
        return asyncio.run(
            run_demo(
                [ChildSpec("server", server, pass_fds=(sock.fileno(),))],
                DemoSettings(
                    env=settings_environment(
                        settings.model_copy(
                            update={"port": port, "expect": settings.expect or SERVICES}
                        )
                    ),
                    seed=seed,
                    database_url=database_url,
                ),
            )
        )

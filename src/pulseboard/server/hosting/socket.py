"""The socket that a server listens on."""

import contextlib
import errno
import resource
import socket

from pulseboard.wire.errors import ConfigError

BACKLOG = 2_048


def bind(host: str, port: int) -> socket.socket:
    """Return a listening-ready socket; raise ConfigError in one line when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(
            f"{host} is no address that can be listened on: {error.strerror}"
        ) from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        busy = (
            "is taken by another program; choose another with --port"
            if error.errno == errno.EADDRINUSE
            else f"cannot be had: {error.strerror}"
        )
        raise ConfigError(f"{host}:{port} {busy}") from error
    sock.setblocking(False)
    return sock


def raise_file_limit() -> None:
    """Let this process open as many connections as the system allows it: each stream is one file (getrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS answers "unlimited" and then refuses it.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def adopt(fd: int) -> socket.socket:
    """Return the socket that the parent process handed over as `fd`; raise ConfigError when it did not."""
    try:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--fd {fd} is no socket that was handed over: {error}") from error
    return sock

"""The socket that a server accepts connections on."""

import contextlib
import errno
import resource
import socket

from pulseboard.wire.errors import ConfigError

BACKLOG = 2_048


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises ConfigError with one line if the address is not available.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"{host} is not an address of this machine: {error.strerror}") from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = (
            "is used by another program: choose another port with --port"
            if error.errno == errno.EADDRINUSE
            else f"is not available: {error.strerror}"
        )
        raise ConfigError(f"{host}:{port} {reason}") from error
    sock.setblocking(False)
    return sock


def raise_file_limit() -> None:
    """Raise this process's limit of open files to the maximum (getrlimit(2)).

    Each stream is an open file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS reports "unlimited" and then refuses that value.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def inherit(fd: int) -> socket.socket:
    """Return the socket that the parent process passed as `fd`, or raise ConfigError."""
    try:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--fd {fd} is not a socket of the parent process: {error}") from error
    return sock

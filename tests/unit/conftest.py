"""Keeps the promise of the unit ring: no sockets, no other processes."""

import os
import socket
import subprocess

import pytest


@pytest.fixture(autouse=True)
def no_input_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects or binds a socket, starts a program, or forks."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError(
            "A unit test opened a socket or started a process; move it to tests/integration"
        )

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "fork", refuse)

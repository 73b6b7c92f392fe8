"""`python -m pulseboard` as a program: its name in messages, and the `.env` file of its folder."""

import os
import sys
from pathlib import Path

from tests.support.cli import Pulseboard


def test_a_dotenv_file_is_read_but_does_not_win_over_the_environment(
    pulseboard: Pulseboard, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PULSEBOARD_PORT=from-the-file\n")
    program = pulseboard("serve")
    assert program.wait() == 2
    assert "from-the-file" in program.err
    program.close()
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / ".env").write_text("PULSEBOARD_PORT=from-the-file\n")
    program = pulseboard("serve", PULSEBOARD_PORT="from-outside")
    assert program.wait() == 2
    assert "from-outside" in program.err


def test_the_module_is_the_command(pulseboard: Pulseboard) -> None:
    program = pulseboard("serve", "--nonsense")
    assert program.wait() == 2
    assert program.err == "pulseboard: No such option: --nonsense (see pulseboard --help)\n"
    assert os.path.basename(sys.executable).startswith("python")  # noqa: PTH119

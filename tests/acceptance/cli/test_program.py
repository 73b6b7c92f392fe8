"""`python -m pulseboard`: its name in messages, and the `.env` file of its folder."""

import os
import sys
from pathlib import Path

from tests.support.cli import Pulseboard


def test_dotenv_file_is_read_and_the_environment_overrides_it(
    pulseboard: Pulseboard, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PULSEBOARD_PORT=from-the-file\n")
    program = pulseboard("serve")
    assert program.wait() == 2
    assert "from-the-file" in program.err
    program.close()
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / ".env").write_text("PULSEBOARD_PORT=from-the-file\n")
    program = pulseboard("serve", PULSEBOARD_PORT="from-environment")
    assert program.wait() == 2
    assert "from-environment" in program.err


def test_module_behaves_like_the_command(pulseboard: Pulseboard) -> None:
    program = pulseboard("serve", "--nonsense")
    assert program.wait() == 2
    assert program.err == "pulseboard: No such option: --nonsense (see pulseboard --help)\n"
    assert os.path.basename(sys.executable).startswith("python")  # noqa: PTH119

"""The command line: parse, call, print."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the `pulseboard` command."""
    try:
        # The extras may not be there, and a command brings its own imports later.
        from pulseboard.cli.app import run  # noqa: PLC0415

        code = run(sys.argv[1:])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "pulseboard":
            raise
        print(
            f"pulseboard: {error.name} is missing: run pip install 'pulseboard[server]'",
            file=sys.stderr,
        )
        code = 2
    except KeyboardInterrupt:  # while the imports went on
        code = 130
    sys.exit(code)

"""The command line: parse, call, print."""

import sys


def main() -> None:
    """Run the `pulseboard` command."""
    try:
        from pulseboard.cli.app import run  # noqa: PLC0415  (the extras may not be there)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "pulseboard":
            raise
        print(f"pulseboard: the command needs {error.name}: pip install 'pulseboard[demo]' brings it", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))

"""`python -m pulseboard` is the `pulseboard` command."""

from pulseboard.cli import main

main()

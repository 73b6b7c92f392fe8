"""Lets `python -m pulseboard` run the command `pulseboard`."""

from pulseboard.cli import main

main()

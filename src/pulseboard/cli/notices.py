"""Messages on stderr, so that stdout contains records only."""

from pulseboard.cli.live import Away, Message
from pulseboard.cli.output_style import open_console, safe


class Notices:
    """Reports once each that the server is away or back, and blind or not blind."""

    def __init__(self) -> None:
        self._console = open_console(stderr=True)
        self._away = False
        self._blind = False

    def warn(self, text: str) -> None:
        """Print one line with the name of the program."""
        self._console.print(f"pulseboard: {safe(text)}", style="yellow", soft_wrap=True)

    def remark(self, text: str) -> None:
        """Print a remark about the surrounding output, in brackets."""
        self._console.print(f"({safe(text)})", style="yellow", soft_wrap=True)

    def follow(self, item: Message | Away) -> None:
        """Report what an item of the stream says about the server."""
        if isinstance(item, Away):
            if not self._away:
                self.warn(f"{item.reason}; trying again")
            self._away = True
            return
        if self._away:
            self._away = False
            self.warn("connected again")
        if item.event in ("board", "ping"):
            self._follow_blind(item.decode().get("blind"))

    def _follow_blind(self, blind: dict[str, str] | None) -> None:
        if blind is not None and not self._blind:
            self.warn(f"the board is blind: {blind.get('reason', '')}")
        elif blind is None and self._blind:
            self.warn("the board can reach Redis again")
        self._blind = blind is not None

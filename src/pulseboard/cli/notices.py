"""What must be said besides what was asked for: on stderr, so that stdout holds records alone."""

from pulseboard.cli.live import Away, Message
from pulseboard.cli.output_style import open_console, safe


class Notices:
    """Says that the server is away or back, that it is blind or sees again, and what was lost; each once."""

    def __init__(self) -> None:
        self._console = open_console(stderr=True)
        self._away = False
        self._blind = False

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(f"pulseboard: {safe(text)}", style="yellow", soft_wrap=True)

    def remark(self, text: str) -> None:
        """Print a remark on what stands around it, in brackets."""
        self._console.print(f"({safe(text)})", style="yellow", soft_wrap=True)

    def follow(self, item: Message | Away) -> None:
        """Say what a stream tells of itself."""
        if isinstance(item, Away):
            if not self._away:
                self.say(f"{item.reason}; trying again")
            self._away = True
            return
        if self._away:
            self._away = False
            self.say("connected again")
        if item.event in ("board", "ping"):
            self._look(item.read().get("blind"))

    def _look(self, blind: dict[str, str] | None) -> None:
        if blind is not None and not self._blind:
            self.say(f"the board is blind: {blind.get('reason', '')}")
        elif blind is None and self._blind:
            self.say("the board sees again")
        self._blind = blind is not None

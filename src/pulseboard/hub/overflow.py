"""Who is not on a full board, as far as that can be known: whoever said something lately and found no room."""

LEFT_OUT_S = 3_600.0
"""So long one counts after it last said something: nobody hears a beat of it, nor that it died."""
LEFT_OUT_MAX = 10_000


class Overflow:
    """Instances by (service, instance), with when each last spoke (ms by Redis' clock)."""

    def __init__(self) -> None:
        self._spoke: dict[tuple[str, str], int] = {}

    def add(self, who: tuple[str, str], at_ms: int) -> None:
        """Note that one spoke for which there was no room."""
        if who in self._spoke or len(self._spoke) < LEFT_OUT_MAX:
            self._spoke.pop(who, None)
            self._spoke[who] = at_ms  # at the end: they are in the order in which they spoke

    def discard(self, who: tuple[str, str]) -> None:
        """Forget one that is on the board, or ended."""
        self._spoke.pop(who, None)

    def clear(self) -> None:
        self._spoke.clear()

    def count(self, now_ms: int) -> int:
        """Return how many there are, or LEFT_OUT_MAX if there are more."""
        for who, spoke in list(self._spoke.items()):
            if spoke >= now_ms - LEFT_OUT_S * 1000:
                break
            del self._spoke[who]
        return len(self._spoke)

"""Complaints: what a host does wrong is told in its log, once for each kind of mistake."""

import logging

log = logging.getLogger("pulseboard.service")


class UsageWarnings:
    """What was complained of in one service."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._told: set[str] = set()

    def tell(self, kind: str, message: str) -> None:
        """Tell of a mistake, unless one of its kind was told before."""
        if kind not in self._told:
            self._told.add(kind)
            log.error("service %s: %s (told once)", self._service, ascii(message[:300])[1:-1])

"""Warnings about mistakes in the host application, each kind of mistake logged once."""

import logging

log = logging.getLogger("pulseboard.service")


class UsageWarnings:
    """Logs mistakes of the host application in its own log, so that no SDK call has to raise."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._logged: set[str] = set()

    def warn_once(self, kind: str, message: str) -> None:
        """Log this mistake, unless a mistake of the same kind has been logged before."""
        if kind not in self._logged:
            self._logged.add(kind)
            text = ascii(message[:300])[1:-1]
            log.error("service %s: %s (logged once)", self._service, text)

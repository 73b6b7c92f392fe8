"""Log lines about wrong uses of the SDK by the host application, one for each kind of mistake."""

import logging

log = logging.getLogger("pulseboard.service")


class UsageWarnings:
    """Logs mistakes of the host application, so that no call of the SDK has to raise.

    The line appears in the log of the host application (logger `pulseboard.service`).
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._logged: set[str] = set()

    def warn_once(self, kind: str, message: str) -> None:
        """Log an error with this message, unless this object has logged one of the same kind."""
        if kind not in self._logged:
            self._logged.add(kind)
            # Escape control characters: a value of the host application must not add log lines.
            text = ascii(message[:300])[1:-1]
            log.error(
                "service %s: %s (later mistakes of this kind are not logged)", self._service, text
            )

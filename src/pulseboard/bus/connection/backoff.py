"""The delay between two attempts to reach Redis."""


def retry_delay_s(attempt: int) -> float:
    """Return the delay in seconds before an attempt to reconnect; the first attempt is 1.

    The delay grows by 50 ms with each attempt, up to 2 s. Source: `min(attempt * 50, 2000)` ms,
    section 3 of the original specification.
    """
    return min(attempt * 50, 2000) / 1000

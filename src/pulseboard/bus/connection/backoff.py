"""The delay between two attempts to reach Redis."""


def retry_delay_s(attempt: int) -> float:
    """Return the delay before reconnection number `attempt`, in seconds.

    It grows by 50 ms with each attempt, up to 2 s. Source: `min(attempt * 50, 2000)` ms, section 3
    of the original specification.
    """
    return min(attempt * 50, 2000) / 1000

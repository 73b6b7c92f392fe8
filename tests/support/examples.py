"""How many examples a Hypothesis test runs."""

import os

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


def examples(thorough: int) -> int:
    """Return `thorough` with HYPOTHESIS_PROFILE=thorough, as in CI, else a fifth of it."""
    return thorough if THOROUGH else max(10, thorough // 5)

"""How much Redis keeps: the limits, writing them to Redis, and evicting instances."""

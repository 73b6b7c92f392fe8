"""How much Redis keeps: the limits, their synchronization, and the eviction of instances."""

"""In-process fan-out: the board, the ring, and the readers of it."""

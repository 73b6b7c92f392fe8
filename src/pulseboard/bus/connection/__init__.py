"""How a client finds, opens and keeps its connection to Redis."""

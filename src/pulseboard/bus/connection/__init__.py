"""Connections to Redis: addresses, discovery of nodes, failover, and clients."""

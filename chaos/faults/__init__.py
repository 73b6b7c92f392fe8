"""The fault table: one module for each family of faults."""

from __future__ import annotations

from chaos.faults import clients, failovers, network, publishers, redis_outages, servers

FAULTS = (
    *redis_outages.FAULTS,
    *servers.FAULTS,
    *clients.FAULTS,
    *publishers.FAULTS,
    *network.FAULTS,
    *failovers.FAULTS,
)

"""The fault table: one module for each family of faults."""

from __future__ import annotations

from chaos.faults import links, masters, publishers, readers, servers, stores

FAULTS = (
    *stores.FAULTS,
    *servers.FAULTS,
    *readers.FAULTS,
    *publishers.FAULTS,
    *links.FAULTS,
    *masters.FAULTS,
)

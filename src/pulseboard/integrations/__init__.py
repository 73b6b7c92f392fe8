"""Integrations: each module needs the optional dependencies (extra) of the same name."""

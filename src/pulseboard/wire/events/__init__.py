"""The events: one module for each kind. `wire/kinds.py` is their registry."""

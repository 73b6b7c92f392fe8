"""The events, one module for each kind."""

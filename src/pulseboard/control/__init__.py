"""Sending commands: to which instances they go, and when they expire. No HTTP."""

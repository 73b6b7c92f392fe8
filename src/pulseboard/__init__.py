"""Pulseboard, the live board of your background services."""

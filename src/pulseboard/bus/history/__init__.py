"""The past that Redis keeps: histories, incidents, and the latest metrics."""

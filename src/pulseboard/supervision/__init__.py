"""Supervision of child processes: restart after a crash, and an orderly end of all."""

"""Inject real faults into real processes, and account for every event of every client."""

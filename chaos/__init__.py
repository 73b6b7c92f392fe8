"""Faults that happen for real, to real processes, and an honest account of what readers saw of them."""

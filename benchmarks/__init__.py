"""Benchmarks: each program prints a question about speed, its method and its figures."""

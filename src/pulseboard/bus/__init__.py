"""Redis: connections, keys, scripts, writing and reading.

The only package that imports redis-py.
"""

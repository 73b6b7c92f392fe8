"""Redis: how we reach it, what we write there and how we read it. The only package that imports redis-py."""

"""The feed: reading it, its entries, and replaying a part of it."""

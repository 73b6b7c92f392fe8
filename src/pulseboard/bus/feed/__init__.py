"""The feed: its entries, the reader that follows it, and the replay of a part of it."""

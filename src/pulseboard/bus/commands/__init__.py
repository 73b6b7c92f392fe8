"""Commands: sending and following them, and receiving them."""

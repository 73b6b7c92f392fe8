"""Commands: sending and observing them (server), and receiving them (SDK)."""

"""The past: the board at a moment, histories, logs and charts. No HTTP."""

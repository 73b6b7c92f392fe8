"""What endpoints share: reading requests, writing responses, and problem documents."""

"""What lives inside users' services."""

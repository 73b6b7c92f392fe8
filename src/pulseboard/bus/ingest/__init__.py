"""External messages: subscribe to them, check them, and ingest each into the feed once."""

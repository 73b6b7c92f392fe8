"""The two streams: their endpoints, and the sinks that write their bytes."""

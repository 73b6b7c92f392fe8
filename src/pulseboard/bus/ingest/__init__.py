"""External messages: subscribing to them, checking them, and putting them into the feed."""

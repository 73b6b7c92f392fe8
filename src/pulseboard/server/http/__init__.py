"""What the endpoints share: parsing of requests, writing of responses, and problem documents."""

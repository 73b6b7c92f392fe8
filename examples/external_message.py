"""Publish a status without the SDK, as a program in any language can.

The message has no instance and no heartbeat interval, so the board shows its state as `silent`.
"""

import json
import os
import time

import redis

client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
prefix = os.environ.get("PULSEBOARD_CHANNEL_PREFIX", "service:")
message = {
    "service": "nightly-import",
    "timestamp": int(time.time() * 1000),
    "status": {"done": 7, "isRunning": True},
}
client.publish(f"{prefix}nightly-import", json.dumps(message))
client.close()

"""Publish a status that changes while a job runs."""

import time

from pulseboard import Service

with Service("nightly-import", heartbeat_s=5) as service:
    service.update(isRunning=True, done=0, failed=0)
    for done in range(1, 31):
        time.sleep(0.05)  # replace this with the work of the job
        service.update(done=done)
    service.update(isRunning=False)

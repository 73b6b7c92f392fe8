"""Send log lines and metrics to the board."""

import logging
import random
import time

from pulseboard import Service

log = logging.getLogger("import")

with Service("nightly-import", metrics_every_s=1) as service:
    logging.basicConfig(level=logging.INFO, handlers=[service.log_handler()])
    rows = service.counter("rows")
    queue = service.gauge("queue")
    load = service.timer("load")
    for batch in range(10):
        queue.set(10 - batch)
        with load:
            time.sleep(random.uniform(0.01, 0.05))  # the work
        rows.add(100)
        log.info("batch loaded", extra={"batch": batch, "rows": 100})
    log.warning("one batch was slow", extra={"api_key": "this value is masked"})

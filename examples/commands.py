"""Accept commands: `pulseboard send nightly-import trigger day=2026-11-25 --wait`."""

import time

from pulseboard import Service

service = Service("nightly-import", heartbeat_s=5)


@service.command("trigger")
def trigger(day: str, force: bool = False) -> dict[str, object]:
    """Import one day now."""
    return {"day": day, "force": force, "rows": 120}


service.enable_commands("pause", "resume", "restart")

with service:
    done = 0
    while True:
        if service.wait_while_paused(timeout_s=1):
            done += 1
            service.update(done=done, paused=False)
        else:
            service.update(paused=True)
        time.sleep(0.5)  # the work

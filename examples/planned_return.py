"""Announce a restart: the board counts down and raises no alarm until the time is over."""

from pulseboard import Service

service = Service("nightly-import").start()
service.update(phase="waiting for the next run")
service.stop(back_in_s=3_600)

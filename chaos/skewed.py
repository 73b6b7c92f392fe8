"""Run a Python module with a wrong clock.

Usage: `python -m chaos.skewed <seconds> <module> <arguments…>`. Only the wall clock is wrong. The
monotonic clock is right, as on a host with a wrong date.
"""

from __future__ import annotations

import runpy
import sys
import time


def main() -> None:
    skew_s, module, arguments = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + skew_s
    time.time_ns = lambda: right_ns() + int(skew_s * 1e9)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

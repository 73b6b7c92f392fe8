"""Run a Python module with a wall clock that is wrong: `python -m chaos.skewed <seconds> <module> <arguments…>`.

The monotonic clock is right, as it is on a host whose clock was set wrongly.
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

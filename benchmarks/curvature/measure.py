"""How a call is measured: processor time beside that of gradients, and the high-water mark of memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

LEAST = 0.3
"""Seconds of processor time that a measurement lasts at least; shorter calls are repeated."""


def seconds(call: Callable[[], object], least: float = LEAST) -> float:
    """Processor seconds of one call, all threads together; the mean of as many as last at least so long."""
    calls, began = 0, time.process_time()
    while True:
        call()
        calls += 1
        spent = time.process_time() - began
        if spent >= least:
            return spent / calls


def ratio(call: Callable[[], object], unit: Callable[[], object]) -> float:
    """The time of a call by that of the unit, taken directly before and after."""
    before = seconds(unit)
    spent = seconds(call)
    return 2 * spent / (before + seconds(unit))


def peak(call: Callable[[], object]) -> float:
    """Mebibytes by which the resident memory rises above what it was, at its highest. Linux only."""
    before = _mebibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the mark forgets what was higher before
    call()
    return _mebibytes("VmHWM") - before


def _mebibytes(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status does not tell {field}")
    return int(found[1]) / 1024

"""Every kind of fault, by the lecture's chapters."""

from unstuck.ward.fault import Fault
from unstuck.ward.faults import batches, beyond, critical_points, later, losses, normalization, rates

ALL: tuple[Fault, ...] = (
    *critical_points.FAULTS,
    *batches.FAULTS,
    *rates.FAULTS,
    *losses.FAULTS,
    *normalization.FAULTS,
    *beyond.FAULTS,
    *later.FAULTS,
)

BY_KIND = {fault.kind: fault for fault in ALL}

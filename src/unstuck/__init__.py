"""Find out why a network's training is stuck. Prove it. Fix it.

The names below are loaded when they are first used, so that ``import unstuck`` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unstuck import causes, probes, remedies, specimens
    from unstuck.budget import Budget
    from unstuck.cause import Cause, Evidence, Finding
    from unstuck.diagnosis import diagnose
    from unstuck.errors import InputError, UnstuckError
    from unstuck.measuring import measure
    from unstuck.prescription import Prescription
    from unstuck.problem import Problem
    from unstuck.reading import Probe, Reading, Readings
    from unstuck.remedy import Remedy
    from unstuck.report import Report
    from unstuck.training import train
    from unstuck.trial import Trial

__all__ = [
    "Budget",
    "Cause",
    "Evidence",
    "Finding",
    "InputError",
    "Prescription",
    "Probe",
    "Problem",
    "Reading",
    "Readings",
    "Remedy",
    "Report",
    "Trial",
    "UnstuckError",
    "causes",
    "diagnose",
    "measure",
    "probes",
    "remedies",
    "specimens",
    "train",
]

_MODULES = {
    "Budget": "budget",
    "Cause": "cause",
    "Evidence": "cause",
    "Finding": "cause",
    "InputError": "errors",
    "Prescription": "prescription",
    "Probe": "reading",
    "Problem": "problem",
    "Reading": "reading",
    "Readings": "reading",
    "Remedy": "remedy",
    "Report": "report",
    "Trial": "trial",
    "UnstuckError": "errors",
    "diagnose": "diagnosis",
    "measure": "measuring",
    "train": "training",
}
"""Where each name comes from; the others are modules."""


if not TYPE_CHECKING:  # with it, type checkers would take any name for a public one

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name not in _MODULES:
            return import_module(f"{__name__}.{name}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""A run that torch computes, for the driver's tests: its module brings torch along, as those of studies do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def threads(settings: Mapping[str, Any]) -> int:
    """How many torch has here."""
    return torch.get_num_threads()

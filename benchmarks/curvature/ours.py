"""This package, asked the same questions."""

from __future__ import annotations

from benchmarks.curvature.jobs import Adapter

OURS: dict[str, dict[str, Adapter]] = {}
"""Job → tool → adapter."""

"""Every tool for every job, this package first."""

from __future__ import annotations

from benchmarks.curvature.jobs import Adapter
from benchmarks.curvature.ours import OURS
from benchmarks.curvature.peers import PEERS
from benchmarks.curvature.plain import torch_gradient

TOOLS: dict[str, dict[str, Adapter]] = {job: OURS.get(job, {}) | tools for job, tools in PEERS.items()}
"""Job → tool → adapter."""

MEMORY_TOOLS: dict[str, dict[str, Adapter]] = {
    "product": {"one gradient": torch_gradient} | TOOLS["product"],
    "top10": TOOLS["top10"],
}
"""The same for the jobs whose peak memory is measured."""

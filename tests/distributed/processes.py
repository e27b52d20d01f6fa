"""Starting the same program as several processes, as torchrun does, and what each of them left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZE = 2


def torchrun(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """``torchrun --nproc-per-node=2`` with arguments, in a folder."""
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={SIZE}")
    command = [sys.executable, *launcher, *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def side_by_side(arguments: Sequence[str], folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """The same with what each process said and how it ended, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(SIZE), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, *arguments]
    started = [
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment() | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(SIZE)
    ]
    ended = [process.communicate() for process in started]
    return [
        subprocess.CompletedProcess(command, process.returncode, *told)
        for process, told in zip(started, ended, strict=True)
    ]


def environment() -> dict[str, str]:
    """This process's, with the tests at hand."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}

"""Options that several verbs have, and how their examples are shown."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where to compute."""

    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"
    AUTO = "auto"


TARGET_HELP = "Your training: path/to/file.py:function or package.module:function, which returns an unstuck.Problem."
Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP, show_default=False)]
TargetOrBuiltIn = Annotated[
    str | None,
    typer.Argument(metavar="TARGET", help=f"{TARGET_HELP} Left out: a built-in example.", show_default=False),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the report as JSON to FILE, too; - is standard output, alone."),
]
SEED_HELP = "Decides samples, data orders and masks: same seed, same result."
Seed = Annotated[int, typer.Option(min=0, metavar="N", help=SEED_HELP)]
OnDevice = Annotated[
    Device | None,
    typer.Option(help="Compute there; auto takes the best there is. Left out: where the target put its model."),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for the report, never overwritten. Left out: unstuck-runs/NAME-N."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only results, warnings and errors: no progress, no notices.")]


def examples(*lines: str) -> str:
    """The lines below a verb's help."""
    return "\n\n".join(("[bold]Examples[/bold]", *lines))

"""Which studies there are, and what their runs depend on."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unstuck import datasets, fingerprint, studies
from unstuck.errors import InputError
from unstuck.study import Study
from unstuck.target import find

BUILT_IN = {study.name: study for study in studies.ALL}

APART = ("ward", "studying", "lecture", "study/gate.py")
"""Of the package: what no run of a study depends on. Neither does one on the other studies."""


def study_of(reference: str) -> Study:
    """A built-in study by its name, or one of somebody's own by ``path/to/file.py:NAME``.

    Raises:
        InputError: there is none, or the file or the name is missing, or names something else.
    """
    if ":" not in reference:
        if reference not in BUILT_IN:
            raise InputError(
                f"there is no study {reference!r}; there are {', '.join(BUILT_IN)}. "
                "One of your own is given as path/to/file.py:NAME"
            )
        return BUILT_IN[reference]
    found = find(reference, "study", "NAME", lambda value: isinstance(value, Study))
    if not isinstance(found, Study):
        raise InputError(f"study {reference!r}: this is a {type(found).__name__}; it must be an unstuck.study.Study")
    return found


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What somebody wants of a study.

    Attributes:
        seeds: by default the study's own.
        quick: whether a first look is enough.
        data: for studies that may be made on other data than the digits.
        device: for studies that may be made elsewhere than on the processor.
    """

    seeds: tuple[int, ...] | None = None
    quick: bool = False
    data: str = datasets.DEFAULT
    device: str = "cpu"


def runs_of(reference: str, asked: Asked) -> list[dict[str, Any]]:
    """The settings of all runs of a study, with all that their results depend on.

    Raises:
        InputError: there is no such study or data, or its plan is no list of settings that each have a seed.
    """
    study = study_of(reference)
    seeds = asked.seeds or (study.quick_seeds if asked.quick else study.seeds)
    common = {"study": _absolute(reference), "code": _code(reference, study)}
    if study.data:
        common |= {"data": asked.data, "data_fingerprint": datasets.load(asked.data).fingerprint}
    if study.device:
        common |= {"device": asked.device}
    planned = [dict(settings) for settings in study.plan(seeds, asked.quick)]
    if not planned or any("seed" not in settings for settings in planned):
        raise InputError(f"study {reference!r}: its plan must be a list of settings, each with its `seed`")
    return [common | settings for settings in planned]


def own_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Those that the study itself gave to a run, and data and device where they may be exchanged."""
    return {name: value for name, value in settings.items() if name not in ("study", "code", "data_fingerprint")}


def _absolute(reference: str) -> str:
    """The reference from wherever a worker runs."""
    file, colon, name = reference.rpartition(":")
    return f"{Path(file).resolve()}:{name}" if colon and file.endswith(".py") else reference


def _code(reference: str, study: Study) -> str:
    """The source that its results follow from: its own file's, and the package's but for the other studies."""
    if ":" in reference:
        file = Path(str(sys.modules[study.run.__module__].__file__))
        own = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        return f"{fingerprint.code((*APART, 'studies'))}{own}"
    module = f"studies/{study.name.replace('-', '_')}.py"
    others = tuple(
        sorted(
            path.relative_to(fingerprint.ROOT).as_posix()
            for path in (fingerprint.ROOT / "studies").glob("*.py")
            if path.relative_to(fingerprint.ROOT).as_posix() != module
        )
    )
    return fingerprint.code((*APART, *others))

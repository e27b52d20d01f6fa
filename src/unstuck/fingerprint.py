"""A fingerprint of the package's own source: results of other code are other results."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

FACES = ("cli.py", "commands", "delivery.py", "launch.py", "page", "terminal.py")
"""Of the package: what no result depends on."""

ROOT = Path(__file__).parent


@cache
def code(apart: tuple[str, ...] = ()) -> str:
    """Of all files but the faces and those named, by paths from the package's folder, of files or of whole folders."""
    left_out = (*FACES, *apart)
    digest = hashlib.sha256()
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT)
        if not any(place.is_relative_to(name) for name in left_out):
            digest.update(place.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]

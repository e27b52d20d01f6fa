"""The page around a report: one HTML file that needs nothing but itself.

plotly.js lies inside, compressed, and is unpacked by the reader's browser (DecompressionStream, in browsers
since 2023); without it, or without scripts, the page is complete but for its pictures, whose numbers stand in
tables. A content security policy names each script and style by its hash and allows no request at all.
"""

import base64
import functools
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from unstuck import plot
from unstuck.page import words
from unstuck.page.parts import entries
from unstuck.page.picture import Picture


class _Environment(jinja2.Environment):
    """Reads `part.update` of a report as its key, where plain jinja would find a method of dictionaries.

    A part that is missing, or null, is undefined.
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        if not isinstance(obj, Mapping):
            return super().getattr(obj, attribute)
        value = obj.get(attribute)
        return self.undefined(obj=obj, name=attribute) if value is None else value


TEMPLATES = _Environment(
    loader=jinja2.PackageLoader("unstuck.page"),
    autoescape=True,
    undefined=jinja2.ChainableUndefined,  # a report may lack any optional part
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.policies["json.dumps_kwargs"] = {"allow_nan": False}
TEMPLATES.filters |= {
    "number": words.number,
    "measured": words.measured,
    "interval": words.interval,
    "sentence": words.sentence,
    "settings": words.settings,
    "percent": words.percent,
    "spaced": words.spaced,
    "confidence": words.confidence,
    "amount": words.amount,
    "entries": entries,
}


@dataclass(frozen=True, kw_only=True)
class Library:
    """plotly.js as a page carries it."""

    packed: str  # gzip, then base64
    hash: str  # of the source, for the policy
    style_ids: tuple[str, ...]  # of styles its map types would write into every page; an empty one keeps them out


def assemble(*, title: str, body: Markup, pictures: Sequence[Picture]) -> str:
    """The whole file: `body` inside `<main>`, and `pictures` drawn into its elements of the same id."""
    style = Markup(TEMPLATES.get_template("style.css").render(light=plot.LIGHT, dark=plot.DARK, plot=plot))
    script = Markup(TEMPLATES.get_template("page.js").render())
    library = _library()
    policy = {
        "default-src": ["'none'"],
        "script-src": [_hash(script), library.hash],
        "style-src": [_hash(style), _hash("")],  # plotly fills empty style elements by rules
        "style-src-attr": ["'unsafe-inline'"],  # and sets attributes on the images of heatmaps
        "img-src": ["data:", "blob:"],  # heatmaps, and a picture on its way to being saved
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return TEMPLATES.get_template("frame.html").render(
        title=title,
        body=body,
        style=style,
        script=script,
        policy="; ".join(f"{directive} {' '.join(sources)}" for directive, sources in policy.items()),
        library=library,
        pictures=[{"id": picture.id, "data": picture.data, "layout": picture.layout} for picture in pictures],
        themes={
            name: plot.template(theme).to_plotly_json() for name, theme in (("light", plot.LIGHT), ("dark", plot.DARK))
        },
    )


@functools.cache
def _library() -> Library:
    source = get_plotlyjs()
    packed = gzip.compress(source.encode(), compresslevel=9, mtime=0)  # no time inside: same report, same page
    return Library(
        packed=base64.b64encode(packed).decode(),
        hash=_hash(source),
        style_ids=tuple(sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', source)))),
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"

"""How a report looks: one offline page, for a file and a notebook. It knows types, no plug-in by name."""

from unstuck.page.lecture import Captioned, Part, Told, render_lecture
from unstuck.page.render import render, render_fragment
from unstuck.page.scores import render_scores
from unstuck.page.studies import render_gallery, render_study
from unstuck.page.tables import Table

__all__ = [
    "Captioned",
    "Part",
    "Table",
    "Told",
    "render",
    "render_fragment",
    "render_gallery",
    "render_lecture",
    "render_scores",
    "render_study",
]

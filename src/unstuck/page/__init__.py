"""How a report looks: one offline page, for a file and a notebook. It knows types, no plug-in by name."""

from unstuck.page.render import render, render_fragment

__all__ = ["render", "render_fragment"]

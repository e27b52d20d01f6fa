"""Second derivatives of a loss at a point, as operators: ``operator @ vector``."""

"""The lecture's methods, written out with the lecture's formulas."""

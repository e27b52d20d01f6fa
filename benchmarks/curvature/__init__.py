"""Curvature, ours and the peers' side by side: the same networks, the same data, the same questions, one run."""

"""Figures, claims and models, and the checks that the comparison can be trusted."""

"""What the measurements prove: figures, claims, models; and whether the comparison can be trusted."""

"""What the measurements prove: figures, claims; and whether the comparison can be trusted."""

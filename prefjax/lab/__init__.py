"""What only experiments need: comparisons, planted worlds, run folders and figures."""

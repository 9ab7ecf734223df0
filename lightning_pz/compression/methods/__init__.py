"""Ways to make a layer smaller: pruning, L0 gates, low rank, int8, and their combination on one weight."""

"""Ways to make a layer smaller: pruning, L0 gates, low rank, levels of 8 or 4 bits, and their combination on one weight."""

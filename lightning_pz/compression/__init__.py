"""One trained network made small: pruning, int8, L0 gates, low rank, and files whose size is what is reported."""

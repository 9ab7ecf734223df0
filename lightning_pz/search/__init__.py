"""Solving tasks: optimizers of a few numbers (or of all weights), and the loop that drives them."""

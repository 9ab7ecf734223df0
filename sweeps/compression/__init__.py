"""Trained networks at every level of compression."""

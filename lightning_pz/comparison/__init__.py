"""Compares search algorithms: finished runs in, curves with intervals, tables and wins out."""

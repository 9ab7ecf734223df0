"""Optimizers of a point, as pure functions on immutable state: they know no decoder, no task and no loop."""

"""The dimension report: behavior dimension, task-recovery dimension and estimates of intrinsic dimension, side by side."""

"""The few-episode study: what a user would hold after the first episodes of a new task, by every contender."""

"""Policies and decoders in the forms of other tools: Stable-Baselines3's zip files, and folders for a model hub."""

"""Trainings that compress a policy: by Stable-Baselines3, or by distillation of its own behavior."""

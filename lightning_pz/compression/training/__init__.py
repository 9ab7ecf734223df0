"""Trainings during which a policy is made small: by Stable-Baselines3, or by distillation of its own behavior."""

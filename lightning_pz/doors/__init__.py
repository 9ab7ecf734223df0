"""Policies, decoders and pools in the forms of other tools: zip files of Stable-Baselines3, model hubs, archives of ribs."""

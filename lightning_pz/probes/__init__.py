"""Measurements of the latent and the behavior space."""

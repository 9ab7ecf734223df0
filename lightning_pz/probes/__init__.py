"""Measurements of latent and behavior spaces: intrinsic-dimension estimates, effective ranks, linear references."""

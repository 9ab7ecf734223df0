"""Few numbers for whole policies: latent policy compression, its measurement, and search through it."""

__version__ = "0.1.0"

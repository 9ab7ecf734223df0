"""Policies and states on disk: how they are made, kept, split, and told from others."""

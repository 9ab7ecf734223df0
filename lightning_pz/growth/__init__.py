"""Pools that grow: a search for new outcomes, with no reward of any task in it."""

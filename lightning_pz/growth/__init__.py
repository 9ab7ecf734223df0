"""Pools that grow: a search for new outcomes, with no reward of any task in it."""

from lightning_pz.common.lazy_names import lazy_names

__getattr__ = lazy_names(__name__, {"grow": "loop"})

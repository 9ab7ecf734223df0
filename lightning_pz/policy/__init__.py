"""Policies as flat vectors: layouts, priors, and one batched forward for many of them."""

from lightning_pz.policy.heads import Head
from lightning_pz.policy.layout import ACTIVATIONS, Layout
from lightning_pz.policy.network import PolicyNetwork, act_each, act_shared, acting, policy_chunk, restandardize
from lightning_pz.policy.priors import INITIALIZERS, Prior, draw_params, prior_scale

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "Head",
    "Layout",
    "PolicyNetwork",
    "Prior",
    "act_each",
    "act_shared",
    "acting",
    "draw_params",
    "policy_chunk",
    "prior_scale",
    "restandardize",
]

"""What follows from the numbers of a dimension report, in words, and what does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeps.dimension.findings import CLAIMED, Findings, Probe
from sweeps.dimension.rules import reached


def conclusions(results: Sequence[Findings]) -> str:
    """Return in words what the numbers say and what they do not."""
    envs = dict.fromkeys(r.group.env for r in results)
    lines = [
        f"* **{r.group.env}, {r.group.label}** (prior {r.prior}): {_on_behavior(r)} {_on_estimates(r)}" for r in results
    ]
    lines += [line for env in envs for line in _on_sizes(env, results)]
    lines += [_on_claim(env, results) for env in envs if env in CLAIMED]
    if any(r.group.runs[0].grown for r in results):
        lines.append(
            "* Held-out policies of a grown pool descend from the same searches as its training policies, so that its numbers count "
            "the dimension of that very pool, and neighbors in it are steps of one climb: estimates from neighbor distances see the "
            "trails of the search. What a decoder makes of a pool grown from another seed: `python -m "
            "lightning_pz.evaluate --checkpoint best.ckpt --elsewhere POOL`."
        )
    lines += [
        "* A low FVU is no promise of return: small action errors compound along an episode. A recovery near 1 is no promise of a "
        "low FVU: it asks for one good policy, not for all of them. Neither number stands for the other.",
        "* No estimator is right everywhere. Neighbor estimates see noise at small scales and fall short above about ten dimensions "
        "(`python -m sweeps manifolds`); spectral ones count the directions that a curved sheet spans. Where an estimate agrees with "
        "its Gaussian surrogate, it shows how the spectrum decays, not that behaviors lie on a sheet of that dimension.",
        "* 2 x action size + 1 bounds the dimension of the set of *states* that trained policies reach (Tiwari, Gottesman and "
        'Konidaris, "Geometry of neural reinforcement learning in continuous state and action spaces", ICLR 2025). It says nothing '
        "of the set of policies; it stands here for scale only.",
    ]
    return "\n".join(lines) + "\n"


def _on_behavior(r: Findings) -> str:
    linear = f"PCA{r.note} needs {reached(r.pca_floor, max(r.pca, default=0))}"
    if math.isfinite(r.behavior.value):
        first = f"the behavior dimension is {r.behavior.text()} latent numbers; {linear}"
    elif math.isfinite(r.pca_floor):
        # Components yield no policy, so they bound what behaviors span and not the dimension. Affine policies are policies.
        first = f"these decoders need more than {r.behavior.largest} latent numbers where {linear} components, which span the behaviors but yield no policy"
    else:
        first = f"the behavior dimension is more than {r.behavior.largest} latent numbers; {linear}"
    return f"{first}; an affine policy has {r.affine} numbers and leaves {r.affine_fvu:.3f} of the variance{r.note}."


def _on_estimates(r: Findings) -> str:
    sentences = [
        f"{label} on behaviors is {with_error(p.value, p.error)} against {with_error(p.surrogate, p.surrogate_error)} on the surrogate: {_against(p)}."
        for label, name in (("TwoNN", "two_nn"), ("GRIDE at neighbors 16 and 32", "gride_16"))
        if (p := r.probe("behavior", name)) is not None and math.isfinite(p.value)
    ]
    return " ".join(sentences) or "Its intrinsic dimension is unknown: fit with --probes.enabled true."


def _against(probe: Probe) -> str:
    apart = (probe.value - probe.surrogate) / math.hypot(probe.error, probe.surrogate_error)
    below = "below what the spectrum alone gives, so behaviors are curved or unevenly spread"
    beyond = below if apart < 0 else "above what the spectrum alone gives"
    return "no more than the spectrum says" if abs(apart) < 2 else beyond


def _on_sizes(env: str, results: Sequence[Findings]) -> list[str]:
    """Compare policy sizes of the same kind of run: the claim that the environment decides and not the network."""
    mine, lines = [r for r in results if r.group.env == env], []
    for kind in dict.fromkeys(r.group.kind for r in mine):
        by_policy = {r.group.policy: r for r in mine if r.group.kind == kind}
        found = [r.behavior for r in by_policy.values()]
        if len(found) < 2:
            continue
        values = ", ".join(f"{policy} {r.behavior.text()}" for policy, r in by_policy.items())
        if all(math.isinf(i.low) for i in found):
            verdict = "none was reached, so a difference is unknown"
        # The largest lower end and the smallest upper end: intervals of all sizes share a value or they do not.
        elif max(i.low for i in found) <= min(i.high for i in found):
            verdict = "the intervals overlap, so no difference between policy sizes is shown"
        else:
            verdict = "the intervals do not overlap: the network matters, not the environment alone"
        lines.append(f"* {env}, {kind}, behavior dimension by policy size: {values}; {verdict}.")
    return lines


def _on_claim(env: str, results: Sequence[Findings]) -> str:
    low, high = CLAIMED[env]
    mine = [r for r in results if r.group.env == env]
    behavior = "; ".join(f"{r.group.label} {r.behavior.text()}" for r in mine)
    tasks = "; ".join(dict.fromkeys(f"{r.group.policy} *{t.task}* {t.text()}" for r in mine for t in r.tasks))
    return (
        f"* {env}, published claim {low} to {high} (arXiv 2509.22566, read off recovery): behavior dimension here {behavior}; task-recovery "
        f"dimension here {tasks or 'not evaluated'}."
    )


def with_error(value: float, error: float) -> str:
    """Return a number with its standard error, three digits below 1."""
    if not math.isfinite(value):
        return "-"
    digits = 3 if abs(value) <= 1 else 2 if abs(value) < 20 else 1
    return f"{value:.{digits}f}" + (f" +- {error:.{digits}f}" if math.isfinite(error) else "")

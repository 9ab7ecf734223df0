"""What follows from the numbers of a dimension report, in words, and what does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeps.dimension.analysis import CLAIMED, Probe, Result, Settings


def words(results: Sequence[Result], settings: Settings) -> str:
    """Return in words what the numbers say and what they do not."""
    lines = [
        f"* **{r.group.env}, {r.group.label}** (prior {r.prior}): {_behavior_words(r)} {_estimate_words(r)}"
        for r in results
    ]
    lines += [line for env in dict.fromkeys(r.group.env for r in results) if (line := _size_words(env, results))]
    lines += [line for env in dict.fromkeys(r.group.env for r in results) if (line := _claim_words(env, results))]
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
        "its Gaussian surrogate, it tells how the spectrum decays, not that behaviors lie on a sheet of that dimension.",
        "* 2 x action size + 1 bounds the dimension of the set of *states* that trained policies reach (Tiwari, Gottesman and "
        'Konidaris, "Geometry of neural reinforcement learning in continuous state and action spaces", ICLR 2025). It says nothing '
        "of the set of policies; it stands here for scale only.",
    ]
    return "\n".join(lines) + "\n"


def _behavior_words(r: Result) -> str:
    kept = (
        f"{r.behavior.text()} latent numbers"
        if math.isfinite(r.behavior.value)
        else f"more than {r.behavior.largest} latent numbers"
    )
    pca = f"PCA needs {or_more(r.pca_floor, max(r.pca, default=0))}"
    return f"the behavior dimension is {kept}; {pca}; an affine policy has {r.affine} numbers and leaves {r.affine_fvu:.3f} of the variance."


def _estimate_words(r: Result) -> str:
    probes = [
        (label, r.probe("behavior", name))
        for name, label in (("two_nn", "TwoNN"), ("gride_16", "GRIDE at neighbors 16 and 32"))
    ]
    told = [
        f"{label} on behaviors is {with_error(p.value, p.error)} against {with_error(p.surrogate, p.surrogate_error)} on the surrogate: {_against(p)}."
        for label, p in probes
        if p is not None and math.isfinite(p.value)
    ]
    return " ".join(told) or "Nothing is known of its intrinsic dimension: fit with --probes.enabled true."


def _against(probe: Probe) -> str:
    apart = (probe.value - probe.surrogate) / math.hypot(probe.error, probe.surrogate_error)
    if abs(apart) < 2:
        return "no more than the spectrum says"
    return (
        "below what the spectrum alone gives, so behaviors are curved or unevenly spread"
        if apart < 0
        else "above what the spectrum alone gives"
    )


def _size_words(env: str, results: Sequence[Result]) -> str:
    """Compare policy sizes of the same kind of run: the claim that the environment decides and not the network."""
    kinds: dict[tuple[str, object], dict[str, Result]] = {}
    for r in results:
        if r.group.env == env:
            kinds.setdefault((r.group.bottleneck, r.group.settings), {})[r.group.policy] = r
    lines = []
    for (bottleneck, _), by_policy in kinds.items():
        if len(by_policy) < 2:
            continue
        found = [r.behavior for r in by_policy.values()]
        # The largest lower end and the smallest upper end: intervals of all sizes share a value or they do not.
        share = max(i.low for i in found) <= min(i.high for i in found)
        told = ", ".join(f"{policy} {r.behavior.text()}" for policy, r in by_policy.items())
        verdict = (
            "none was reached, so nothing is told of a difference"
            if all(math.isinf(i.low) for i in found)
            else "the intervals overlap, so no difference between policy sizes is shown"
            if share
            else "the intervals do not overlap: the network matters, not the environment alone"
        )
        lines.append(
            f"* {env}, {'separate' if bottleneck == 'plain' else bottleneck} runs, behavior dimension by policy size: {told}; {verdict}."
        )
    return "\n".join(lines)


def _claim_words(env: str, results: Sequence[Result]) -> str:
    if env not in CLAIMED:
        return ""
    low, high = CLAIMED[env]
    mine = [r for r in results if r.group.env == env]
    behavior = "; ".join(f"{r.group.label} {r.behavior.text()}" for r in mine)
    tasks = (
        "; ".join(dict.fromkeys(f"{r.group.policy} *{t.task}* {t.text()}" for r in mine for t in r.tasks))
        or "not evaluated"
    )
    return (
        f"* {env}, published claim {low} to {high} (arXiv 2509.22566, read off recovery): behavior dimension here {behavior}; task-recovery "
        f"dimension here {tasks}."
    )


def with_error(value: float, error: float) -> str:
    """Return a number with its standard error, three digits below 1."""
    if not math.isfinite(value):
        return "-"
    digits = 3 if abs(value) <= 1 else 2 if abs(value) < 20 else 1
    return f"{value:.{digits}f}" + (f" +- {error:.{digits}f}" if math.isfinite(error) else "")


def or_more(value: float, largest: int) -> str:
    """Return a number of latents, or that it is more than the largest that was tried."""
    return f"{value:.0f}" if math.isfinite(value) else (f"> {largest}" if largest else "unknown")

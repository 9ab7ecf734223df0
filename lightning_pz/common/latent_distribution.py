"""The distribution that random latents are drawn from, in an evaluation and in a search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.checks import LATENTS, one_of
from lightning_pz.common.errors import UserError

ENCODINGS = 2048  # latents of training policies that a checkpoint keeps, at most
BANDWIDTH = 0.3  # standard deviation of the kernel around each, in that of all latents in the same direction


@dataclass(frozen=True)
class LatentDistribution:
    """The latents of a pool's training policies, and points in which they have mean 0 and unit covariance.

    A latent z has the point w with `z = mean + L w`, L the Cholesky factor of the covariance. A draw of the kind `density`
    is the latent of a random training policy with noise around it, `z_i + h L e`, h the bandwidth: there are policies
    wherever it falls, also where the pool is several clusters with nothing between them, as grown pools are. A draw of the
    kind `gaussian` is `mean + L e`.

    References:
        Parzen, "On estimation of a probability density function and mode", 1962; the draw is Efron's smoothed bootstrap.
    """

    mean: Float[Tensor, " latent"]  # of the latents
    covariance: Float[Tensor, "latent latent"]
    encodings: Float[Tensor, "encodings latent"] | None = None  # some latents; none are needed for `gaussian`
    kind: str = "gaussian"  # one of `LATENTS`

    def __post_init__(self) -> None:
        one_of("latents", self.kind, LATENTS)
        if self.kind == "density" and (self.encodings is None or not len(self.encodings)):
            raise UserError(
                "--latents density draws around the latents of training policies, but the checkpoint was saved by an "
                "earlier version, which kept none: give --latents gaussian, or fit again"
            )

    @cached_property
    def _factor(self) -> Float[Tensor, "latent latent"]:
        covariance = self.covariance.double()
        # A latent that the encoder never uses has no variance; a millionth of the mean one keeps the factor finite.
        jitter = 1e-6 * covariance.diagonal().mean() + 1e-12
        return torch.linalg.cholesky(covariance + jitter * torch.eye(len(covariance), dtype=torch.double))

    @cached_property
    def _centers(self) -> Float[Tensor, "encodings latent"]:
        assert self.encodings is not None
        return self.to_points(self.encodings)

    def to_latents(self, points: Float[Tensor, "points latent"]) -> Float[Tensor, "points latent"]:
        """Return the latents of points, (n, k) float32."""
        return (self.mean.double() + points.double() @ self._factor.T).float()

    def to_points(self, latents: Float[Tensor, "points latent"]) -> Float[Tensor, "points latent"]:
        """Return the points of latents, (n, k) float64."""
        centered = latents.double() - self.mean.double()
        return torch.linalg.solve_triangular(self._factor, centered.T, upper=False).T

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "points latent"]:
        """Draw latents to decode, (count, k)."""
        return self.to_latents(self.sample_points(count, generator))

    def sample_points(self, count: int, generator: torch.Generator) -> Float[Tensor, "points latent"]:
        """Draw points, which `to_latents` makes latents of, (count, k) float64."""
        size = len(self.mean)
        if self.kind == "gaussian":
            return torch.randn(count, size, generator=generator, dtype=torch.double)
        rows = torch.randint(len(self._centers), (count,), generator=generator)
        return self._centers[rows] + BANDWIDTH * torch.randn(count, size, generator=generator, dtype=torch.double)

    def middle(self) -> Float[Tensor, " latent"]:
        """Return the point to try first: the mean, or of a density the encoding nearest to it, where a policy is."""
        if self.kind == "gaussian":
            return torch.zeros(len(self.mean), dtype=torch.double)
        return self._centers[self._centers.norm(dim=1).argmin()]

"""A sparse autoencoder with a TopK bottleneck: the baseline of the hierarchical one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Flat(nn.Module):
    """A flat autoencoder: x̂ = b + Σ z_i D_i over the k latents with the largest z = ReLU(E (x - b) + e): codes real, decoder rows of length 1.

    Source: Gao et al. 2024. The encoder starts as the decoder's transpose, so that a latent reads what it writes.
    """

    def __init__(self, d: int, latents: int, k: int, seed: int):
        super().__init__()
        if not 1 <= k <= latents:
            raise ValueError(f"k = {k} of {latents} latents: expected 1 to {latents}")
        self.k = k
        generator = torch.Generator().manual_seed(seed)
        directions = unit(torch.randn(latents, d, generator=generator))
        self.decoder = nn.Parameter(directions)  # (latents, d)
        self.encoder = nn.Parameter(directions.clone())
        self.threshold = nn.Parameter(torch.zeros(latents))
        self.bias = nn.Parameter(torch.zeros(d))

    def encode(self, x: Tensor) -> Tensor:
        """Return codes (n, latents) of ``x`` (n, d): at most k above 0 in a row."""
        return top(torch.relu((x - self.bias) @ self.encoder.T + self.threshold), self.k)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the reconstruction (n, d) of codes (n, latents)."""
        return codes @ self.decoder + self.bias  # (n, d)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of ``x`` (n, d)."""
        return self.decode(self.encode(x))


def top(values: Tensor, k: int) -> Tensor:
    """Return ``values`` (n, m) with all but the ``k`` largest of each row set to 0."""
    largest = values.topk(k, dim=-1)
    return torch.zeros_like(values).scatter(-1, largest.indices, largest.values)


def unit(directions: Tensor) -> Tensor:
    """Return ``directions`` (..., d) brought to length 1."""
    return directions / directions.norm(dim=-1, keepdim=True)

"""Sums over tokens that determine the covariance of every site, gathered in one pass that keeps no activations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.massive_tokens import massive_in_texts
from stages.activations.passes import FINAL_NORM, run_passes
from stages.activations.sequences import Sequences
from stages.activations.tokens import CollectionError, batches
from stages.geometry.spectrum import Moments
from stages.models.capture import StreamPoint, text_config

# Content tokens that are not massive; these with massive ones, position 0 and special tokens; the last position of each
# sequence, where it is not massive.
LEVELS = ("token", "all_positions", "last_token")


class MomentKey(NamedTuple):
    """The name of one sum: ``site`` is resid_post or final_norm, ``level`` one of LEVELS."""

    site: str
    layer: int
    level: str


def moment_keys(layers: int) -> list[MomentKey]:
    """Return the names of all sums: resid_post of every layer, then the final norm, each at every level."""
    return [MomentKey(*point, level) for point in _points(layers) for level in LEVELS]


def _points(layers: int) -> list[StreamPoint]:
    return [*(StreamPoint("resid_post", layer) for layer in range(layers)), StreamPoint(FINAL_NORM, layers - 1)]


class _BatchSum(NamedTuple):
    """The sums over the rows (n, d) of one batch."""

    mean: Tensor
    """Mean (d,), float64"""
    total: Tensor
    """Σ x (d,), float64"""
    n: int


def gather_moments(
    model: PreTrainedModel, sequences: Sequences, blocks: int, tokens_per_batch: int, in_blocks: Collection[MomentKey]
) -> dict[MomentKey, Moments]:
    """Sum the moments of every key in float64: gram (blocks, d, d), total (blocks, d), n (blocks,).

    Block by block for ``in_blocks`` (of the levels token and last_token), all blocks as large and in the order of the
    sequences; one block of everything for the others. Massive tokens (`massive_in_texts`, at each place by itself) are
    in all_positions alone; a block without any other last token has n = 0. Memory: the activations of one batch, and
    the sums. Raises CollectionError where blocks do not divide the sequences, as `run_passes` does, and on values that
    are not finite.
    """
    count, length = sequences.ids.shape
    if count % blocks:
        raise CollectionError(f"{count} sequences in {blocks} blocks: blocks must divide the sequences")
    layers = text_config(model).num_hidden_layers
    sums = BlockSums(sequences.content, np.arange(count) // (count // blocks), _points(layers), in_blocks)
    run_passes(model, sequences, batches(np.full(count, length), tokens_per_batch), sums, tokens_per_batch)
    return sums.moments()


class BlockSums:
    """A reducer to sums of products over the tokens of each block of sequences."""

    def __init__(
        self,
        content: np.ndarray,
        block_of: np.ndarray,
        points: Sequence[StreamPoint],
        in_blocks: Collection[MomentKey],
    ) -> None:
        self.content, self.block_of, self.points, self.in_blocks = content, block_of, points, in_blocks
        self._products: dict[tuple[MomentKey, int], Tensor] = {}
        self._parts: dict[tuple[MomentKey, int], list[_BatchSum]] = defaultdict(list)

    def start(self, rows: np.ndarray, length: int) -> None:
        """Find the content tokens of the batch, and their blocks."""
        self._content, self._blocks = self.content[rows], self.block_of[rows]

    def reduce(self, hidden: Tensor) -> dict[tuple[str, int], tuple[Tensor, _BatchSum]]:
        """Reduce ``hidden`` (batch, length, d) to sums by level and block."""
        flat = hidden.flatten(0, 1)  # (batch * length, d)
        index = _positions(self._content, self._blocks, massive_in_texts(hidden, self._content))
        return {key: _about_mean(flat.index_select(0, rows.to(flat.device))) for key, rows in index.items()}

    def collect(self, rows: np.ndarray, reduced: list[dict[tuple[str, int], tuple[Tensor, _BatchSum]]]) -> None:
        """Add the sums of the batch."""
        for point, sums in zip(self.points, reduced, strict=True):
            for (level, block), (product, part) in sums.items():
                name = MomentKey(*point, level)
                key = name, block if name in self.in_blocks else 0
                total = self._products.get(key)
                self._products[key] = product.double() if total is None else total.add_(product)
                self._parts[key].append(part)

    def moments(self) -> dict[MomentKey, Moments]:
        """Return the moments of every key; raise CollectionError on values that are not finite."""
        by_block = {key: _moments(product, self._parts[key]) for key, product in self._products.items()}
        names = [MomentKey(*point, level) for point in self.points for level in LEVELS]
        nothing = _nothing(next(iter(self._products.values())))
        for name in names:
            for block in np.unique(self.block_of).tolist() if name in self.in_blocks else [0]:
                by_block.setdefault((name, block), nothing)
        return {name: _side_by_side(name, by_block) for name in names}


def _positions(content: np.ndarray, block_of: np.ndarray, massive: np.ndarray) -> dict[tuple[str, int], Tensor]:
    """Return rows of the flattened batch (batch, length) by level and block.

    Those of all_positions, in one block, are what the level token lacks.
    """
    index = {("all_positions", 0): np.flatnonzero(~content | massive)}
    last = np.arange(content.shape[1]) == content.shape[1] - 1  # (length,)
    for block in np.unique(block_of).tolist():
        in_block = (block_of == block)[:, None] & ~massive  # (batch, length)
        index["token", block] = np.flatnonzero(in_block & content)
        index["last_token", block] = np.flatnonzero(in_block & last)
    return {key: torch.from_numpy(rows) for key, rows in index.items() if len(rows)}


def _about_mean(rows: Tensor) -> tuple[Tensor, _BatchSum]:
    """Sum (x - m)(x - m)' over ``rows`` (n, d) in float32: rounding is relative to the spread, not to the mean m."""
    x = rows.float()  # (n, d)
    mean = x.mean(0)
    x = x - mean
    mean, rest = mean.double(), x.sum(0).double()  # (d,); rest is what rounding left of the mean
    return x.T @ x, _BatchSum(mean, len(x) * mean + rest, len(x))


def _moments(product: Tensor, parts: Sequence[_BatchSum]) -> Moments:
    """Return Σ x x' = Σ_b (G_b + m_b t_b' + t_b m_b' - n_b m_b m_b') with Σ x and n.

    t_b = Σ x of batch b, ``product`` = Σ_b G_b about its m_b.
    """
    mean = torch.stack([part.mean for part in parts])  # (batches, d)
    total = torch.stack([part.total for part in parts])  # (batches, d)
    n = torch.tensor([part.n for part in parts], dtype=torch.float64, device=mean.device)
    cross = mean.T @ (total - 0.5 * n[:, None] * mean)  # (d, d)
    gram = product + cross + cross.T
    return Moments(gram.cpu().numpy(), total.sum(0).cpu().numpy(), int(n.sum()))


def _nothing(product: Tensor) -> Moments:
    """Return the moments of no row, as wide as ``product`` (d, d)."""
    return Moments(np.zeros(product.shape), np.zeros(len(product)), 0)


def _side_by_side(name: MomentKey, by_block: dict[tuple[MomentKey, int], Moments]) -> Moments:
    """Stack the blocks of one sum; in that of all_positions, a single block, the content tokens are counted in."""
    blocks = [by_block[key] for key in sorted(by_block, key=lambda key: key[1]) if key[0] == name]
    if name.level == "all_positions":
        content = (sums for key, sums in by_block.items() if key[0] == name._replace(level="token"))
        blocks = [sum(content, start=blocks[0])]
    stacked = Moments(
        np.stack([block.gram for block in blocks]),
        np.stack([block.total for block in blocks]),
        np.array([block.n for block in blocks]),
    )
    if not np.isfinite(stacked.gram).all():
        raise CollectionError(
            f"{name.site} of layer {name.layer} is not finite: check the weights, or choose float32 or bfloat16"
        )
    return stacked

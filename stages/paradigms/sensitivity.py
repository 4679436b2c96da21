"""How the residual stream of one prompt answers to small changes of its embeddings: exact derivatives, no differences.

h(E) is the residual stream at a site, a function of the embeddings E (tokens, d): the output of the embedding
module, which positions (and nothing else) may be added to afterwards. J = dh/dE. Directional derivatives J v are
taken in forward mode, transposed ones J'u in reverse mode, both exact up to rounding; finite differences are
off by 3 to 100 % in bfloat16, depending on the step. All of it is first order: a *sensitivity*, never a curvature.

``tokens`` says which part of h is read: "last" is h at the last token, (d,); "all" is the whole stream, (tokens · d,).
Direction i is drawn from (seed, i) alone: the same for every model of equal width, for any number of draws and
any batch, so that differences between siblings are paired. For one prompt at a time, unpadded: its copies are the
batch. All numbers are unchanged by a rotation of the site's stream; what scaling it does is said of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from transformers import PreTrainedModel

from stages.models.capture import base_model, capture, text_config
from stages.models.names import hook_name

Tokens = Literal["last", "all"]
Item = TypeVar("Item")
DTYPES = (torch.float32, torch.float64)
RELOAD = 'load it with load_model(checkpoint, "float32", attention="eager")'


class SensitivityError(ValueError):
    """A model or prompt cannot be differentiated, or an iteration did not converge; the message names the fix."""


class Response(NamedTuple):
    """The result of `noise_response`: a number per hook, averaged over draws."""

    hooks: tuple[str, ...]
    mean: np.ndarray
    """(hooks,) mean of |J v|²"""
    error: np.ndarray
    """(hooks,) standard error of the mean over draws"""
    draws: np.ndarray
    """(draws, hooks) |J v|²"""
    stream: np.ndarray
    """(hooks,) |h|²: mean / stream is the response relative to the stream itself"""


class Norm(NamedTuple):
    """The result of `frobenius_norm`: a number per hook, estimated from draws."""

    hooks: tuple[str, ...]
    value: np.ndarray
    """(hooks,) estimate of |J|_F"""
    error: np.ndarray
    """(hooks,) standard error of the value, from that of the square: se(F) = se(F²) / 2F"""
    squared: np.ndarray
    """(hooks,) unbiased estimate of |J|_F²"""
    squared_error: np.ndarray
    """(hooks,) standard error of the square"""


class TopSingular(NamedTuple):
    """The result of `top_singular_value`: a number per hook, and how sure it is."""

    hooks: tuple[str, ...]
    value: np.ndarray
    """(hooks,) |J v| of the last unit vector v: never above the true value"""
    residual: np.ndarray
    """(hooks,) |J'J v - σ² v| / σ²: some squared singular value is so near, relatively"""
    converged: np.ndarray
    """(hooks,) whether the residual came below the tolerance"""
    iterations: np.ndarray
    """(hooks,) products with J'J"""


class Expansion(NamedTuple):
    """The result of `expansion_exponents`: a number per layer, from one block's input to its output."""

    mean: np.ndarray
    """(layers,) mean over draws, in nats per layer"""
    spread: np.ndarray
    """(layers,) standard deviation over draws"""
    draws: np.ndarray
    """(draws, layers) exponent of each draw"""
    stream: np.ndarray
    """(layers,) ln |h_{l+1}| / |h_l|: what the growth of the stream alone would give"""


def noise_response(
    model: PreTrainedModel,
    ids: Sequence[int] | Tensor,
    sites: Sequence[str] = ("resid_post",),
    draws: int = 20,
    seed: int = 0,
    tokens: Tokens = "last",
    batch: int = 8,
) -> Response:
    """Return the response to embedding noise: mean of |J v|² over v = |E|_F / sqrt(tokens · d) · z, z ~ N(0, I).

    The limit of the prior study's |h(E + εv) - h(E)|² / ε² for ε -> 0, which that study called a curvature. Its
    expectation is |E|_F² / (tokens · d) · |J|_F²; it scales with the square of the stream at the site.
    Parameters: each but ``model`` and ``ids`` (tokens,) is an independent choice with a default.
    Raises SensitivityError as `embed` does, on fewer than two draws and on derivatives that are not finite;
    CaptureError on a site that the family lacks.
    """
    _require_draws(draws)
    embeddings = embed(model, ids)  # (tokens, d)
    scale = embeddings.double().norm() / math.sqrt(embeddings.numel())
    directions = (scale * z for z in _directions(embeddings, draws, seed, _gaussian))
    squares = _squared_responses(model, embeddings, directions, sites, tokens, batch)
    stream = _stream(model, embeddings, sites, tokens)
    return Response(tuple(squares), *_mean_and_error(squares), _table(squares), _table(stream)[0])


def frobenius_norm(
    model: PreTrainedModel,
    ids: Sequence[int] | Tensor,
    sites: Sequence[str] = ("resid_post",),
    draws: int = 20,
    seed: int = 0,
    tokens: Tokens = "last",
    batch: int = 8,
) -> Norm:
    """Return Hutchinson's estimate of |J|_F: |J|_F² = tr J'J = E |J z|² over random signs z (tokens, d).

    The variance of one draw is 2 (|A|_F² - sum A_ii²), A = J'J: large where few directions carry J, hence the
    standard error. Scales as the stream at the site. Hutchinson 1990.
    Parameters: those of `noise_response`, with its errors.
    """
    _require_draws(draws)
    embeddings = embed(model, ids)  # (tokens, d)
    directions = _directions(embeddings, draws, seed, _signs)
    squares = _squared_responses(model, embeddings, directions, sites, tokens, batch)
    squared, error = _mean_and_error(squares)
    value = np.sqrt(squared)
    return Norm(tuple(squares), value, error / (2 * np.maximum(value, np.finfo(float).tiny)), squared, error)


def top_singular_value(
    model: PreTrainedModel,
    ids: Sequence[int] | Tensor,
    sites: Sequence[str] = ("resid_post",),
    tolerance: float = 1e-3,
    iterations: int = 500,
    seed: int = 0,
    tokens: Tokens = "last",
    batch: int = 8,
    strict: bool = True,
) -> TopSingular:
    """Return the largest singular value of J by power iteration: v <- J'J v / |J'J v| from a Gaussian v, σ = |J v|.

    Stops when |J'J v - σ² v| <= ``tolerance`` σ² at every hook: a squared singular value then lies within that of σ²
    (the largest one but for a start that all but misses it; |J|_F bounds it from above), and the error of σ is of the
    order of the tolerance's square where the next one is well apart. Where two lie close, the residual falls slowly.
    Scales as the stream at the site. Golub & Van Loan 2013, 8.2. ``batch`` hooks are iterated at once, each on
    a copy of the prompt of its own, the graph of its forward pass kept.
    Parameters: those of `noise_response`, and when the iteration stops.
    Raises SensitivityError as `noise_response`, and naming the hooks where ``iterations`` were too few; with
    ``strict`` False these are flagged in ``converged`` instead, and their value is a lower bound.
    """
    if iterations < 1 or not tolerance > 0:
        raise SensitivityError(f"iterations = {iterations}, tolerance = {tolerance}: both must be positive")
    embeddings = embed(model, ids)  # (tokens, d)
    hooks = _hooks(model, sites)
    start = next(_directions(embeddings, 1, seed, _gaussian))  # (tokens, d)
    parts = [
        _power_iteration(model, embeddings, start, group, sites, tokens, tolerance, iterations)
        for group in _batches(hooks, batch)
    ]
    result = TopSingular(hooks, *(np.concatenate(column) for column in zip(*parts, strict=True)))
    if strict and not result.converged.all():
        late = [f"{hooks[i]} ({result.residual[i]:.2g})" for i in np.flatnonzero(~result.converged)]
        raise SensitivityError(
            f"no convergence to {tolerance:g} in {iterations} iterations at {', '.join(late)} (relative residual): "
            "raise iterations or tolerance, or pass strict=False for flagged lower bounds"
        )
    return result


def expansion_exponents(
    model: PreTrainedModel,
    ids: Sequence[int] | Tensor,
    draws: int = 20,
    seed: int = 0,
    tokens: Tokens = "all",
    batch: int = 8,
) -> Expansion:
    """Return expansion (finite-time Lyapunov) exponents from layer to layer: ln |J_{l+1} v| / |J_l v|, v ~ N(0, I).

    J_0 is the Jacobian of the first block's input, J_l of the output of block l - 1. The stream of all tokens is the
    state of this dynamical system, hence the default; at the last token alone the growth also holds what
    attention brings in from the others. The perturbation turns towards the leading direction layer by layer: these are
    exponents along a random direction, not the spectrum. Invariant to one factor on the whole stream, not to one
    that grows with depth: compare with ``stream``. Oseledets 1968; Benettin et al. 1980.
    Raises SensitivityError as `noise_response`, and where a perturbation dies out.
    """
    _require_draws(draws)
    embeddings = embed(model, ids)  # (tokens, d)
    sites = ("resid_pre", "resid_post")
    path = [hook_name("resid_pre", 0), *_hooks(model, ["resid_post"])]
    directions = _directions(embeddings, draws, seed, _gaussian)
    squares = _squared_responses(model, embeddings, directions, sites, tokens, batch)
    squares = {hook: squares[hook] for hook in path}
    if dead := [hook for hook, values in squares.items() if not (values > 0).all()]:
        raise SensitivityError(
            f"the perturbation is zero at {dead[0]}: no expansion can be measured there; check the weights"
        )
    stream = _stream(model, embeddings, sites, tokens)
    expansion = np.diff(np.log(_table(squares)), axis=1) / 2  # (draws, layers)
    stream_growth = np.diff(np.log(_table({hook: stream[hook] for hook in path})), axis=1)[0] / 2  # (layers,)
    return Expansion(expansion.mean(axis=0), expansion.std(axis=0, ddof=1), expansion, stream_growth)


def embed(model: PreTrainedModel, ids: Sequence[int] | Tensor) -> Tensor:
    """Return the embeddings (tokens, d) of one prompt ``ids`` (tokens,), if ``model`` can be differentiated.

    Raises SensitivityError on quantised weights, on precisions below float32, on fused attention, on training mode,
    on a model spread over devices, and on ids that are not one prompt of the vocabulary.
    """
    _require_differentiable(model)
    table = model.get_input_embeddings()
    ids = torch.as_tensor(ids)
    if ids.ndim != 1 or ids.numel() == 0 or ids.is_floating_point():
        raise SensitivityError(
            f"token ids of shape {tuple(ids.shape)} and type {ids.dtype}: expected one prompt, (tokens,) integers without padding"
        )
    if ids.min() < 0 or ids.max() >= table.num_embeddings:
        raise SensitivityError(
            f"token ids {int(ids.min())}..{int(ids.max())}: the vocabulary is 0..{table.num_embeddings - 1}; "
            "take the tokenizer of this model"
        )
    with torch.no_grad():
        return table(ids[None].to(table.weight.device))[0]


def push_forward(
    model: PreTrainedModel, embeddings: Tensor, directions: Tensor, sites: Sequence[str], tokens: Tokens = "last"
) -> dict[str, Tensor]:
    """Return J v for every direction: hook name -> (batch, values), from one pass; values = d or tokens · d.

    ``embeddings`` (tokens, d) of `embed`, ``directions`` (batch, tokens, d). Linear in the directions.
    Forward-mode automatic differentiation: dual numbers through the network. Raises CaptureError on a site
    that the family lacks, SensitivityError on derivatives that are not finite.
    """
    directions = directions.to(embeddings)  # (batch, tokens, d)
    copies = embeddings.expand_as(directions).contiguous()  # (batch, tokens, d)
    with torch.no_grad(), forward_ad.dual_level(), capture(model, sites, _reader(tokens)) as captured:
        base_model(model)(inputs_embeds=forward_ad.make_dual(copies, directions), use_cache=False)
        pairs = {hook: forward_ad.unpack_dual(captured[hook]) for hook in _hooks(model, sites)}
        # None: nothing at this site depends on the embeddings
        moved = {hook: torch.zeros_like(h) if tangent is None else tangent for hook, (h, tangent) in pairs.items()}
    if broken := [hook for hook, tangent in moved.items() if not torch.isfinite(tangent).all()]:
        raise SensitivityError(f"derivatives at {broken[0]} are not finite: check the weights and the prompt")
    return moved


def _power_iteration(
    model: PreTrainedModel,
    embeddings: Tensor,
    start: Tensor,
    hooks: Sequence[str],
    sites: Sequence[str],
    tokens: Tokens,
    tolerance: float,
    iterations: int,
) -> tuple[np.ndarray, ...]:
    """Return value, residual, converged and iterations (hooks,) of ``hooks``, copy i of the prompt belonging to hook i.

    Parameters: those of `top_singular_value`, with the prompt embedded, the start drawn and the hooks chosen.
    """
    with torch.enable_grad(), capture(model, sites, _reader(tokens)) as captured:
        leaf = embeddings.expand(len(hooks), -1, -1).clone().requires_grad_()  # (hooks, tokens, d)
        base_model(model)(inputs_embeds=leaf, use_cache=False)
        outputs = [captured[hook][i] for i, hook in enumerate(hooks)]  # (values,) each
    v = _unit(start.to(embeddings).expand_as(leaf))  # (hooks, tokens, d)
    taken = np.full(len(hooks), iterations)
    residual = np.full(len(hooks), np.inf)
    for step in range(1, iterations + 1):
        moved = push_forward(model, embeddings, v, sites, tokens)
        forward = [moved[hook][i] for i, hook in enumerate(hooks)]  # J v: (values,) each
        (back,) = torch.autograd.grad(outputs, leaf, forward, retain_graph=True)  # J'J v: (hooks, tokens, d)
        squares = torch.stack([tangent.double().square().sum() for tangent in forward])  # (hooks,) Rayleigh quotients
        gap = (back.double() - squares[:, None, None] * v.double()).flatten(1).norm(dim=1)  # (hooks,)
        last_residual, residual = residual, (gap / squares.clamp(min=torch.finfo(torch.float64).tiny)).cpu().numpy()
        first = (residual <= tolerance) & ~(last_residual <= tolerance)
        taken[first] = step
        if (residual <= tolerance).all():
            break
        v = _unit(back)
    return squares.sqrt().cpu().numpy(), residual, residual <= tolerance, taken


def _unit(directions: Tensor) -> Tensor:
    """Return each of ``directions`` (batch, tokens, d) at length 1; zeros stay."""
    length = directions.flatten(1).norm(dim=1).clamp(min=torch.finfo(directions.dtype).tiny)  # (batch,)
    return directions / length[:, None, None]


def _squared_responses(
    model: PreTrainedModel,
    embeddings: Tensor,
    directions: Iterator[Tensor],
    sites: Sequence[str],
    tokens: Tokens,
    batch: int,
) -> dict[str, np.ndarray]:
    """Return |J v|²: hook name -> (draws,) float64."""
    parts: dict[str, list[np.ndarray]] = {hook: [] for hook in _hooks(model, sites)}
    for group in _batches(directions, batch):
        for hook, moved in push_forward(model, embeddings, torch.stack(group), sites, tokens).items():
            parts[hook].append(moved.double().square().sum(dim=1).cpu().numpy())
    return {hook: np.concatenate(values) for hook, values in parts.items()}


def _stream(model: PreTrainedModel, embeddings: Tensor, sites: Sequence[str], tokens: Tokens) -> dict[str, np.ndarray]:
    """Return |h|²: hook name -> (1,) float64."""
    with torch.no_grad(), capture(model, sites, _reader(tokens)) as captured:
        base_model(model)(inputs_embeds=embeddings[None], use_cache=False)
    return {hook: captured[hook].double().square().sum(dim=1).cpu().numpy() for hook in _hooks(model, sites)}


def _reader(tokens: Tokens) -> Callable[[Tensor], Tensor]:
    """Return the function that reads the part of a residual stream (batch, tokens, d): (batch, values)."""
    if tokens not in ("last", "all"):
        raise SensitivityError(f"tokens = {tokens!r}: expected last or all")
    return (lambda hidden: hidden[:, -1]) if tokens == "last" else (lambda hidden: hidden.flatten(1))


def _hooks(model: PreTrainedModel, sites: Sequence[str]) -> tuple[str, ...]:
    return tuple(hook_name(site, layer) for layer in range(text_config(model).num_hidden_layers) for site in sites)


def _directions(
    embeddings: Tensor, draws: int, seed: int, draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
) -> Iterator[Tensor]:
    """Yield directions (tokens, d), each from a generator of its own; float64 whatever the model computes in."""
    for i in range(draws):
        yield torch.as_tensor(draw(np.random.default_rng([seed, i]), embeddings.shape), device=embeddings.device)


def _batches(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yield ``items`` in groups of ``size``, the last one shorter."""
    if size < 1:
        raise SensitivityError(f"batch = {size}: expected at least 1")
    items = iter(items)
    while group := tuple(islice(items, size)):
        yield group


def _gaussian(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.standard_normal(shape)


def _signs(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 2.0 * generator.integers(0, 2, shape) - 1


def _table(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the columns side by side: (draws, hooks)."""
    return np.stack(list(columns.values()), axis=1)


def _mean_and_error(squares: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over draws and its standard error, (hooks,) each."""
    table = _table(squares)  # (draws, hooks)
    return table.mean(axis=0), table.std(axis=0, ddof=1) / math.sqrt(len(table))


def _require_draws(draws: int) -> None:
    if draws < 2:
        raise SensitivityError(f"draws = {draws}: expected at least 2, for a spread over draws")


def _require_differentiable(model: PreTrainedModel) -> None:
    name = model.config.model_type
    kinds = {parameter.dtype for parameter in model.parameters()}
    if packed := sorted(str(kind) for kind in kinds if not kind.is_floating_point):
        raise SensitivityError(
            f"{name} is quantised (weights in {', '.join(packed)}): its derivatives are those of rounding; {RELOAD}"
        )
    if low := sorted(str(kind) for kind in kinds if kind not in DTYPES):
        raise SensitivityError(f"{name} computes in {', '.join(low)}: derivatives need float32; {RELOAD}")
    used = text_config(model)._attn_implementation
    if used != "eager":
        raise SensitivityError(
            f"{name} uses {used} attention, whose fused kernels have no forward-mode derivatives; {RELOAD}"
        )
    if model.training:
        raise SensitivityError(f"{name} is in training mode, where dropout makes every pass another function: eval()")
    if len(places := {str(parameter.device) for parameter in model.parameters()}) > 1:
        raise SensitivityError(f"{name} is spread over {', '.join(sorted(places))}: set DEVICE to one device")

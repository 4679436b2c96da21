"""Forward hooks on the residual stream, and the self-test that they sit where they should."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stages.models.names import hook_name
from stages.models.sites import SITES, CaptureError, Side, family_of, locate, require_sites

PROBE_TOKENS = 8
# What a block adds to the residual stream: no sites of it.
ADDED = ("attention", "mlp")
# Adding two or three values in any order rounds at most so often: the tolerance of the self-test, in machine epsilons.
ROUNDINGS = 4


class StreamPoint(NamedTuple):
    """A point of one block: a site of the residual stream, or ``attention`` or ``mlp``, which add to it."""

    site: str
    layer: int


class _PassEnded(Exception):
    """Ends a forward pass whose later blocks nobody reads."""


@contextmanager
def capture(
    model: PreTrainedModel, sites: Sequence[str], keep: Callable[[Tensor], object] = Tensor.detach
) -> Iterator[dict[str, object]]:
    """Capture every layer's ``sites``, as `capture_points` does."""
    points = [StreamPoint(site, layer) for layer in range(text_config(model).num_hidden_layers) for site in sites]
    with capture_points(model, points, keep) as values:
        yield values


@contextmanager
def capture_points(
    model: PreTrainedModel, points: Sequence[StreamPoint], keep: Callable[[Tensor], object] = Tensor.detach
) -> Iterator[dict[str, object]]:
    """Yield a dict that each forward pass fills: hook name -> ``keep`` of the residual stream (batch, tokens, d_model).

    ``keep`` runs inside the pass, so that a reduction (the last token, a mean) need not hold every layer whole.
    The true ``resid_post`` of the last block is read at that block: `hidden_states[-1]` of transformers comes
    after the final norm. Hooks are removed on leaving, also after an error. Raises CaptureError on a site that the
    family lacks.
    """
    family = family_of(model.config)
    require_sites(family, [site for site in dict.fromkeys(point.site for point in points) if site not in ADDED])
    blocks = blocks_of(model, family)
    values: dict[str, object] = {}
    handles = []
    try:
        for point in points:
            path, side = locate(family, point.site)
            module = _submodule(blocks[point.layer], path, family)
            handles.append(_hook(module, side, hook_name(*point), values, keep))
        yield values
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def ending_after(model: PreTrainedModel, layer: int) -> Iterator[None]:
    """End the pass that is made inside the context after block ``layer``: later blocks do not run.

    Hooks on that block that were there before still run. The context holds one pass, which returns nothing.
    """

    def end_pass(*_):
        raise _PassEnded

    handle = blocks_of(model, family_of(model.config))[layer].register_forward_hook(end_pass)
    try:
        with suppress(_PassEnded):
            yield
    finally:
        handle.remove()


def self_test(model: PreTrainedModel) -> None:
    """Check resid_pre + attention = resid_mid and resid_mid + MLP = resid_post in every block, on a few probe tokens.

    On a parallel block: resid_pre + attention + MLP = resid_post. Raises CaptureError naming the family,
    the layer and the site: the row of the table is then wrong for this model.
    """
    family = family_of(model.config)
    parallel = SITES[family].mid is None
    sites = ["resid_pre", "resid_post", *ADDED] + ([] if parallel else ["resid_mid"])
    layers = range(len(blocks_of(model, family)))
    points = [StreamPoint(site, layer) for layer in layers for site in sites]
    with torch.inference_mode(), capture_points(model, points) as values:
        base_model(model)(input_ids=probe_ids(model), use_cache=False)
    for layer in layers:
        stream = {site: values.get(hook_name(site, layer)) for site in sites}
        if absent := [site for site, value in stream.items() if value is None]:
            raise CaptureError(
                f"{family}, layer {layer}: the hook of {absent[0]} never ran: correct the row {family!r} in stages/models/sites.py"
            )
        if parallel:
            parts = stream["resid_pre"], stream["attention"], stream["mlp"]
            _require_sum(family, layer, "resid_post", stream["resid_post"], *parts)
        else:
            _require_sum(family, layer, "resid_mid", stream["resid_mid"], stream["resid_pre"], stream["attention"])
            _require_sum(family, layer, "resid_post", stream["resid_post"], stream["resid_mid"], stream["mlp"])


def probe_ids(model: PreTrainedModel) -> Tensor:
    """Return token ids (1, tokens) on which a model is checked when it is loaded."""
    return torch.arange(1, 1 + PROBE_TOKENS, device=model.device)[None] % text_config(model).vocab_size


def base_model(model: PreTrainedModel) -> nn.Module:
    """Return the model without its language-model head."""
    return model.base_model


def text_config(model: PreTrainedModel):
    """Return the configuration of the text model: of the language part, where there are other parts."""
    return model.config.get_text_config()


def blocks_of(model: PreTrainedModel, family: str) -> Sequence[nn.Module]:
    """Return the blocks of the model, one per layer; raise CaptureError where the table does not fit it."""
    blocks = _submodule(base_model(model), SITES[family].blocks, family)
    if len(blocks) != text_config(model).num_hidden_layers:
        raise CaptureError(
            f"{family}: {SITES[family].blocks} has {len(blocks)} blocks, expected {text_config(model).num_hidden_layers} layers"
        )
    return blocks


def _hook(module: nn.Module, side: Side, name: str, values: dict[str, object], keep: Callable[[Tensor], object]):
    """Register the hook that stores one side of ``module`` under ``name``."""
    if side == "input":

        def store_input(_, args, kwargs):
            values[name] = keep(args[0] if args else kwargs["hidden_states"])

        return module.register_forward_pre_hook(store_input, with_kwargs=True)

    def store_output(_, __, output):
        # Attention returns (output, weights); blocks returned a tuple before transformers 5.
        values[name] = keep(output[0] if isinstance(output, tuple) else output)

    return module.register_forward_hook(store_output)


def _submodule(module: nn.Module, path: str, family: str) -> nn.Module:
    try:
        return module.get_submodule(path)
    except AttributeError as error:
        raise CaptureError(
            f"{family}: {type(module).__name__} has no module {path!r}; it has {', '.join(dict(module.named_children()))}: "
            f"correct the row {family!r} in stages/models/sites.py"
        ) from error


def _require_sum(family: str, layer: int, site: str, total: Tensor, *parts: Tensor) -> None:
    """Raise CaptureError unless ``total`` equals the sum of ``parts``, element by element, up to rounding."""
    epsilon = torch.finfo(total.dtype).eps
    # A model spread over several devices hands a block its input from the device before.
    total, parts = total.double().cpu(), [part.double().cpu() for part in parts]  # (1, tokens, d_model) each
    # Relative to each element: one massive dimension must not hide the others.
    scale = total.abs() + sum(part.abs() for part in parts)
    if not torch.isfinite(scale).all():
        raise CaptureError(
            f"{family}, layer {layer}: {site} or what is added to it is not finite: check the weights (float16 overflows; it is never used)"
        )
    error = (total - sum(parts)).abs()
    if torch.any(error > ROUNDINGS * epsilon * scale):
        raise CaptureError(
            f"self-test of the capture map failed: {family}, layer {layer}: {site} differs from the sum of its parts by up to "
            f"{error.max():.3g} (|{site}| up to {total.abs().max():.3g}); correct the row {family!r} in stages/models/sites.py"
        )

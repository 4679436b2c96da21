"""Steer a language model by the latents of an autoencoder: set a latent's code, and measure what that does to the words.

Rows of ``steering``: variant, noise, seed, chosen, level, kind, strength and effects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.concepts.autoencoder_jobs import EncodedModel
from stages.concepts.autoencoders import measures
from stages.concepts.autoencoders.codes import Dense, dense, directions
from stages.concepts.autoencoders.flat import Flat
from stages.concepts.autoencoders.hierarchical import Hierarchical
from stages.concepts.autoencoders.training import Scale
from stages.concepts.effects import Baseline, WordColumns, columns_of_word, effects, read_baseline, word_columns
from stages.concepts.text_contexts import find_contexts, tested_part
from stages.concepts.word_states import WordStates, learning_and_test_states
from stages.geometry.causal import category_vector, causal_metric

# How a latent is chosen for steering: it tells the kind's words best; or what it adds raises them most.
READS, WRITES = "reads", "writes"


class SteeringScene(NamedTuple):
    """A language model and contexts of held-out text in which latents are set."""

    encoded: EncodedModel
    model: PreTrainedModel
    columns: WordColumns
    baseline: Baseline
    states: torch.Tensor
    """(C, d) middle states at the contexts' ends."""


def steering_scene(
    encoded: EncodedModel, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]
) -> SteeringScene:
    """Find contexts in held-out documents and run the model over them. Raises ContextError where there are none."""
    words, concepts = encoded.words, encoded.concepts
    ids = words.emitted[words.row]
    words_by_id = dict(zip(ids.tolist(), encoded.hierarchy.words, strict=True))
    count = concepts.interventions.contexts
    rows = find_contexts(tokenizer, tested_part(documents), words_by_id, count, concepts.seed).rows
    baseline = read_baseline(model, rows, words.header.layer)
    return SteeringScene(encoded, model, word_columns(encoded.hierarchy, ids), baseline, baseline.prefix.ends.cpu())


def steering_rows(autoencoder: Hierarchical | Flat, scale: Scale, scene: SteeringScene) -> Iterator[dict]:
    """Yield rows of ``steering``: a latent's code set to a value, whatever it was; the rest of the state stays as it is.

    A parent is set to ``strength`` times the root mean square norm of states, which is what it then adds at least where
    it was silent: as long as the vectors of the interventions. The child of every kind that fires most is set in the
    same way, and its word is what should rise, over the kind's other words.
    """
    learning, _, kinds = learning_and_test_states(scene.encoded)
    codes = dense(autoencoder, scale.inward(torch.tensor(learning.states, dtype=torch.float32)))
    present = dense(autoencoder, scale.inward(scene.states))
    parent_directions, child_directions = (side.double().numpy() for side in directions(autoencoder))
    latents = {
        READS: measures.assign(codes.parents.double().numpy(), learning.label, len(kinds)),
        WRITES: writing_latents(parent_directions, scene.encoded, kinds),
    }
    for choice, chosen in latents.items():
        for kind, latent in zip(kinds, chosen, strict=True):
            silent = _lengths(present.parents[:, latent], scale)
            for strength in scene.encoded.concepts.interventions.strengths:
                delta = _delta(strength, silent, parent_directions[latent], scene)
                row = effects(scene.model, delta, kind, scene.columns, scene.baseline)
                yield {"chosen": choice, "level": "parent", "kind": kind, "strength": strength} | row
    if isinstance(autoencoder, Hierarchical):
        width, strength = autoencoder.shape.children, scene.encoded.concepts.interventions.strengths[-1]
        for label, (kind, latent) in enumerate(zip(kinds, latents[READS], strict=True)):
            child, word = _busiest_child(codes, learning, label, latent * width, width, scene)
            silent = _lengths(present.children[:, child], scale)
            delta = _delta(strength, silent, child_directions[child], scene)
            columns = columns_of_word(word, scene.encoded.hierarchy, scene.columns)
            row = effects(scene.model, delta, word, columns, scene.baseline)
            yield {"chosen": READS, "level": "child", "kind": kind, "strength": strength} | row


def _busiest_child(
    codes: Dense, learning: WordStates, label: int, first: int, width: int, scene: SteeringScene
) -> tuple[int, str]:
    """Return the child, of ``width`` from number ``first`` on, that fires most on words of kind ``label``, and its word."""
    block = codes.children.double().numpy()[:, first : first + width] * (learning.label == label)[:, None]
    child = int(block.sum(axis=0).argmax())
    return first + child, list(scene.encoded.hierarchy.words)[learning.word[int(block[:, child].argmax())]]


def _delta(strength: float, silent: np.ndarray, direction: np.ndarray, scene: SteeringScene) -> np.ndarray:
    """Return (C, d) what takes a latent from its codes ``silent`` (C,) to ``strength`` norms of states."""
    return (strength * scene.encoded.values.middle_rms - silent)[:, None] * direction


def _lengths(codes: torch.Tensor, scale: Scale) -> np.ndarray:
    """Return codes (C,) as lengths in the space of the states."""
    return codes.double().numpy() * scale.scale


def writing_latents(parent_directions: np.ndarray, encoded: EncodedModel, kinds: Sequence[str]) -> np.ndarray:
    """Return (K,) the latent whose direction raises the words of each kind most: λ'γ of a unit step, with the concept's ℓ."""
    metric = causal_metric(encoded.values.unembedding, encoded.concepts.shrinkage)
    coordinates = metric.words(encoded.values.unembedding)[encoded.words.row]
    names, learnable = np.array(list(encoded.hierarchy.words)), ~encoded.hierarchy.held_out_mask()
    members = [learnable & np.isin(names, encoded.hierarchy.members(kind)) for kind in kinds]
    concepts = np.stack([category_vector(coordinates[rows]) for rows in members])  # (K, d)
    latents = measures.unit_rows(metric.contexts(measures.unit_rows(parent_directions)))
    return (latents @ measures.unit_rows(concepts).T).argmax(axis=0)

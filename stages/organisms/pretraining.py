"""Pretrain the base on next tokens, with checkpoints along the way."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm
from transformers import Olmo3ForCausalLM, PreTrainedTokenizerFast

from stages.activations.tokens import text_ids
from stages.organisms.muon import Muon
from stages.organisms.params import Pretraining
from stages.organisms.resumption import TrainingStates
from stages.shared.files import atomic_folder

WARMUP = 40
STATE = "state.pt"
# The learning rate is constant up to this share of the steps, then it decays linearly.
DECAY_START = 0.6
# Documents are packed into rows so many at a time.
BUCKET = 512


def checkpoint_steps(steps: int) -> list[int]:
    """Return the steps to save: 0, 1, 2, then 4 to 400 densely (factor 1.32), then up to ``steps`` (factor 1.5).

    The spectrum collapses and recovers inside the first few hundred steps, so they are the densest.
    """
    early = {round(4 * 1.32**i) for i in range(17)}
    late = {round(400 * 1.5**i) for i in range(1, 30)}
    return sorted(step for step in {0, 1, 2} | early | late if step < steps * 0.9) + [steps]


def learning_rate_factor(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: warm-up, plateau, linear decay to 2 %."""
    decay = (steps - step) / ((1 - DECAY_START) * steps)
    return min(1.0, step / WARMUP, max(0.02, decay))


def pack(documents: list[list[int]], length: int, seed: int) -> list[list[int]]:
    """Pack documents into rows of at most ``length`` tokens, whole and in random order (first fit, longest first).

    Sorting documents into batches by their length would make batches of one kind each, and the
    rarer kinds would hardly be learned; packed rows mix the kinds and waste little on padding.
    Raises ValueError where a document is longer than a row.
    """
    rng = random.Random(f"{seed}-packing")
    packed = []
    for start in range(0, len(documents), BUCKET):
        rows: list[list[list[int]]] = []
        free_tokens: list[int] = []
        for document in sorted(documents[start : start + BUCKET], key=len, reverse=True):
            if len(document) > length:
                raise ValueError(
                    f"a document has {len(document)} tokens, a row {length}: raise organisms.base.row_tokens"
                )
            index = next((i for i, free in enumerate(free_tokens) if free >= len(document)), len(rows))
            if index == len(rows):
                rows.append([])
                free_tokens.append(length)
            rows[index].append(document)
            free_tokens[index] -= len(document)
        for row in rows:
            rng.shuffle(row)
        rng.shuffle(rows)
        packed += [[token for document in row for token in document] for row in rows]
    return packed


def pad(rows: list[list[int]], pad_token: int) -> torch.Tensor:
    """Return right-padded token ids, (rows, longest)."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=pad_token
    )


def next_token_loss(model: Olmo3ForCausalLM, tokens: torch.Tensor, pad_token: int) -> torch.Tensor:
    """Return the mean cross entropy in nats per real token. Causal attention and right padding need no mask."""
    logits = model(tokens[:, :-1], use_cache=False).logits  # (rows, tokens - 1, vocabulary)
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=pad_token)


def build_optimizers(model: Olmo3ForCausalLM, params: Pretraining) -> list[torch.optim.Optimizer]:
    """Return Muon for the weight matrices of the blocks, and AdamW for embeddings, unembedding and norms.

    Under AdamW alone the is-a world stays on a plateau for over a thousand steps; Muon leaves it
    within a few hundred.
    """
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    remaining = [*model.model.embed_tokens.parameters(), *model.lm_head.parameters()]
    remaining += [weight for weight in model.model.parameters() if weight.ndim == 1]
    return [
        Muon(matrices, lr=params.matrix_learning_rate),
        torch.optim.AdamW(
            remaining, lr=params.learning_rate, betas=(0.9, 0.95), weight_decay=params.weight_decay, fused=True
        ),
    ]


def pretrain(
    model: Olmo3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    texts: list[str],
    params: Pretraining,
    states: TrainingStates,
    seed: int,
) -> list[dict]:
    """Train ``model`` in place on one pass over ``texts``, on from the last of ``states``; return the training curve.

    Checkpoints are saved as ``states.checkpoints/step-N``. No step draws random numbers: the rows are in order before.
    """
    end = tokenizer.eos_token_id
    rows = pack([ids + [end] for ids in text_ids(tokenizer, texts)], params.row_tokens, seed)
    steps = -(-len(rows) // params.batch)
    optimizers = build_optimizers(model, params)
    schedules = [LambdaLR(optimizer, lambda step: learning_rate_factor(step + 1, steps)) for optimizer in optimizers]
    saved_steps = set(checkpoint_steps(steps))
    parts = [model, *optimizers, *schedules]
    first, curve, recent_losses = _restore(states, parts)
    if first == 0:
        _save_checkpoint(model, states, 0)
    model.train()
    for step in tqdm(range(first + 1, steps + 1), desc="pretraining", initial=first, total=steps, mininterval=10):
        batch = rows[(step - 1) * params.batch : step * params.batch]
        loss = next_token_loss(model, pad(batch, tokenizer.pad_token_id), tokenizer.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        recent_losses.append(loss.item())
        if step % max(1, steps // 50) == 0 or step == steps:
            curve.append({"step": step, "quantity": "loss", "value": sum(recent_losses) / len(recent_losses)})
            recent_losses.clear()
        if step in saved_steps:
            _save_checkpoint(model, states, step)
        if step == steps or states.is_due():
            with states.save(step) as folder:
                content = {"parts": [part.state_dict() for part in parts], "curve": curve, "losses": recent_losses}
                torch.save({"step": step, **content}, folder / STATE)
    return curve


def _save_checkpoint(model: Olmo3ForCausalLM, states: TrainingStates, step: int) -> None:
    with atomic_folder(states.checkpoints / f"step-{step}") as folder:
        model.save_pretrained(folder)


def _restore(states: TrainingStates, parts: list) -> tuple[int, list[dict], list[float]]:
    """Bring ``parts`` to the last of ``states``; return its step, its curve and the losses since; 0 and none at the start."""
    latest = states.latest()
    if latest is None:
        return 0, [], []
    content = torch.load(latest / STATE, weights_only=True)
    for part, state in zip(parts, content["parts"], strict=True):
        part.load_state_dict(state)
    return content["step"], content["curve"], content["losses"]

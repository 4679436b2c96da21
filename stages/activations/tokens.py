"""Texts as token ids: prompts and what follows them, their padding, and the batches in which they pass through a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _compile_jinja_template

# Position 0 is an attention sink, with or without a beginning-of-sequence token: its norm would rule the mean.
MASK = (
    "last_token: last real token; mean: real tokens without position 0 and special tokens; all_tokens: every real token"
)
PAD = 0  # any id: causal attention keeps padding on the right out of every real token, the mask padding on the left
# The day on which chat templates are filled in that write today's: prompts are the same tomorrow.
CHAT_DATE = datetime(2026, 1, 1)


# Characters by which an error tells a text that has no name.
QUOTED = 40


class CollectionError(ValueError):
    """Prompts and model do not fit; the message names the prompt, what was expected and the fix."""


class Tokens(NamedTuple):
    """The token ids of a task's texts, the same for every sibling of a family: prompts, and what may follow them."""

    prompt_ids: tuple[str, ...]
    ids: list[np.ndarray]
    """Token ids (length,) of each prompt and its continuation."""
    content: list[np.ndarray]
    """The tokens of each prompt that `mean` averages: bool (prompt length,); empty where nothing reads them."""

    @property
    def lengths(self) -> np.ndarray:
        """Return the tokens of what passes through the model (n_prompts,)."""
        return np.array([len(ids) for ids in self.ids])

    @property
    def prompt_lengths(self) -> np.ndarray:
        """Return the tokens of the prompts alone (n_prompts,)."""
        return np.array([len(content) for content in self.content])

    def label(self, row: int) -> str:
        """Return what errors call the prompt in that row."""
        return f"prompt {self.prompt_ids[row]}"

    def subset(self, rows: Sequence[int]) -> Tokens:
        """Return the prompts ``rows``, in that order."""
        content = [self.content[r] for r in rows] if self.content else []
        return Tokens(tuple(self.prompt_ids[r] for r in rows), [self.ids[r] for r in rows], content)

    def digest(self) -> str:
        """Return the SHA-256 over the lengths of prompts and texts, and all token ids."""
        stream = np.concatenate([self.prompt_lengths, self.lengths, *self.ids]).astype("<i8")
        return hashlib.sha256(stream.tobytes()).hexdigest()


class EncodedText(NamedTuple):
    """The token ids of a text with what the tokenizer puts in front of it, without what it puts behind."""

    ids: list[int]
    beginning: int
    """Number of special tokens that the tokenizer puts in front."""
    offsets: list[tuple[int, int]]
    """Bounds of each token's characters in the text; empty from a tokenizer that does not give them."""


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], special: bool = True, offsets: bool = False
) -> list[EncodedText]:
    """Return the token ids of each text, never truncated, as a model goes on from it.

    What a tokenizer puts behind a text (an end token) would stand between the text and what follows, and be taken for
    its last token: it is left out. ``special`` says whether what it puts in front stays. Every stage tokenises here.
    """
    if not len(texts):
        return []
    encoded = tokenizer(
        list(texts),
        add_special_tokens=special,
        padding=False,
        truncation=False,
        verbose=False,
        return_special_tokens_mask=True,
        return_offsets_mapping=offsets and tokenizer.is_fast,
    )
    bounds = encoded.get("offset_mapping") or [[]] * len(texts)
    return [
        _encoded_text(ids, mask, characters, tokenizer.eos_token_id)
        for ids, mask, characters in zip(encoded["input_ids"], encoded["special_tokens_mask"], bounds, strict=True)
    ]


def _encoded_text(
    ids: list[int], mask: list[int], offsets: list[tuple[int, int]], end_token: int | None
) -> EncodedText:
    """Return the text that ``mask`` marks the added special tokens of, without those at its end."""
    if all(mask):  # nothing between front and back: an empty text
        end = len(ids) - next((i for i, token in enumerate(reversed(ids)) if token != end_token), len(ids))
        return EncodedText(ids[:end], end, offsets[:end])
    end = len(mask) - mask[::-1].index(0)
    return EncodedText(ids[:end], mask.index(0), offsets[:end])


def text_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], special: bool = True) -> list[list[int]]:
    """Return the token ids alone of `encode_texts`."""
    return [text.ids for text in encode_texts(tokenizer, texts, special)]


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    prompt_ids: Sequence[str],
    prompt_format: str = "plain",
    continuations: Sequence[str] | None = None,
) -> Tokens:
    """Return the token ids of ``prompts`` as `encode_texts` makes them.

    ``prompt_format`` "plain" is the text as it is; "chat" puts it as the user's turn into the tokenizer's chat
    template, up to where the assistant begins, on `CHAT_DATE`. A continuation follows that, after a space if no white
    space stands there; it is tokenised together with the prompt, whose own ids stay. Raises CollectionError on a
    repeated id, on a prompt without a token that `mean` could average, on one whose last token merges with its
    continuation, and on a tokenizer without a chat template.
    """
    if len(set(prompt_ids)) < len(prompt_ids):
        repeated = next(i for i in prompt_ids if list(prompt_ids).count(i) > 1)
        raise CollectionError(f"prompt id {repeated} stands twice in the task file: every id must be unique")
    chat = prompt_format == "chat"
    texts = [_as_chat(tokenizer, prompt) for prompt in prompts] if chat else list(prompts)
    # A chat template writes its special tokens itself.
    ids = [np.array(row, dtype=np.int64) for row in text_ids(tokenizer, texts, special=not chat)]
    special = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
    content = [~np.isin(row, special) & (np.arange(len(row)) > 0) for row in ids]
    for prompt, mask in zip(prompt_ids, content, strict=True):
        if not mask.any():
            raise CollectionError(
                f"prompt {prompt} has no token besides position 0 and special tokens: remove it from the task"
            )
    if continuations is not None:
        joined = [text + _spaced(text, more) for text, more in zip(texts, continuations, strict=True)]
        whole = encode_texts(tokenizer, joined, special=not chat, offsets=True)
        ids = [
            np.concatenate([row, np.array(_after_prompt(tokenizer, row.tolist(), len(text), both, prompt), np.int64)])
            for row, text, both, prompt in zip(ids, texts, whole, prompt_ids, strict=True)
        ]
    return Tokens(tuple(prompt_ids), ids, content)


def named_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], names: Sequence[str] | None = None) -> Tokens:
    """Return texts as token ids, for passes that read no content mask; without ``names`` errors quote their beginning."""
    labels = [repr(text[:QUOTED]) for text in texts] if names is None else names
    return Tokens(tuple(labels), [np.array(ids, np.int64) for ids in text_ids(tokenizer, texts)], [])


def _after_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: list[int], characters: int, both: EncodedText, name: str
) -> list[int]:
    """Return the tokens of ``both`` that follow a prompt of so many ``characters``, whose own tokens are ``prompt``.

    Raises CollectionError where one token holds the end of the prompt and the beginning of what follows.
    """
    start = len(prompt)
    if both.offsets:
        ends = enumerate(end for _, end in both.offsets)
        start = next((place for place, end in ends if end > characters), len(both.ids))
    before, after = both.ids[:start], both.ids[start:]
    # The same text in other tokens is no merger: two line breaks are one token or two, by what follows.
    same = before == prompt or tokenizer.decode(before) == tokenizer.decode(prompt)
    if not same or not after or (both.offsets and both.offsets[start][0] < characters):
        token = tokenizer.convert_ids_to_tokens(after[:1] or both.ids[-1:])[0]
        raise CollectionError(
            f"prompt {name}: in {tokenizer.name_or_path} its last token merges with the worked solution into {token!r}, so "
            "that neither the prompt's end nor the solution's beginning can be read: end the task's prompts without a space, "
            "or leave reasoning_middle and reasoning_end out of collect.aggregations"
        )
    return after


def _spaced(text: str, continuation: str) -> str:
    """Return the continuation as it would go on from ``text``, after a space where no white space stands."""
    return continuation if text[-1].isspace() else f" {continuation}"


def _as_chat(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    if tokenizer.chat_template is None:
        raise CollectionError(
            f"the tokenizer in {tokenizer.name_or_path} has no chat template: leave out prompt_format: chat of this model "
            "in data/registry/models.yaml (base models have none)"
        )
    # In the template's namespace: as an argument, transformers turns a function into its name.
    _compile_jinja_template(tokenizer.get_chat_template()).globals["strftime_now"] = CHAT_DATE.strftime
    turn = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)


def chat_date(prompt_format: str) -> str:
    """Return the day that files record: `CHAT_DATE` where prompts stand in a chat template, else nothing."""
    return CHAT_DATE.date().isoformat() if prompt_format == "chat" else ""


def right_padded(rows: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return token ids (n, longest), padded on the right, and the last real position (n,) of each row."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.as_tensor(row) for row in rows], batch_first=True, padding_value=PAD)
    return ids, torch.tensor([len(row) - 1 for row in rows])


def left_padded(rows: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return token ids (n, longest), padded on the left, and the mask (n, longest) of real tokens."""
    rows = [torch.as_tensor(row) for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(rows, batch_first=True, padding_value=PAD, padding_side="left")
    return ids, pad([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")


def batches(lengths: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """Return the rows of each batch: longest first, rows x longest length within the budget (a longer row goes alone)."""
    # The largest batch comes first, so memory runs out at once or never.
    order = np.argsort(-lengths, kind="stable")  # (n,)
    result, start = [], 0
    while start < len(order):
        rows = max(1, tokens_per_batch // int(lengths[order[start]]))
        result.append(order[start : start + rows])
        start += rows
    return result


def token_offsets(tokens: Tokens) -> np.ndarray:
    """Return the row bounds (n_prompts + 1,) of the prompts in all_tokens."""
    return np.concatenate([[0], np.cumsum(tokens.prompt_lengths)])

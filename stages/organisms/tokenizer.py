"""Build the tokenizer of the organisms: byte-level BPE for the tasks, one token a word for the worlds."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
THINK = ("<think>", "</think>")
# Byte-level BPE writes the space before a word like this.
SPACE = "Ġ"


def build_tokenizer(texts: Iterable[str], words: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train BPE of at most ``vocabulary`` tokens on ``texts``; every word of ``words`` is one more token.

    Digits stand alone, so that a sum is a matter of digits. ``ignore_merges`` makes BPE take a whole
    word where the vocabulary has it, so the words need no merges and no fragments in the vocabulary.
    A character that the corpus lacks becomes ``<unk>``.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[PAD, BOS, EOS, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)

    trained = json.loads(tokenizer.to_str())["model"]
    vocab: dict[str, int] = trained["vocab"]
    for word in words:
        vocab.setdefault(SPACE + word, len(vocab))
    merges = [tuple(pair) for pair in trained["merges"]]
    tokenizer.model = models.BPE(vocab=vocab, merges=merges, ignore_merges=True, unk_token=UNKNOWN)
    # Plain added tokens, not special ones: decoding keeps them, and the verifier reads the text.
    tokenizer.add_tokens(list(THINK))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN
    )

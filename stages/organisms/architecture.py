"""Build a tiny Olmo3 model with an initialisation that its post-norms do not drown."""

from __future__ import annotations

import torch
from transformers import Olmo3Config, Olmo3ForCausalLM, PreTrainedTokenizerFast

from stages.organisms.params import Architecture


def build_model(params: Architecture, tokenizer: PreTrainedTokenizerFast, seed: int) -> Olmo3ForCausalLM:
    """Return a model with random weights drawn from ``seed``.

    Olmo3 normalises each sublayer's output to unit RMS, which drowns embeddings of the usual
    standard deviation .02: embeddings start at ``embedding_std``, the post-norms' gains at
    ``post_norm_gain``. Eager attention: exact forward-mode derivatives need it, and it is faster here.
    """
    torch.manual_seed(seed)
    config = Olmo3Config(
        vocab_size=len(tokenizer),
        hidden_size=params.width,
        intermediate_size=params.mlp_width,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        num_key_value_heads=params.heads,
        max_position_embeddings=256,
        sliding_window=params.sliding_window,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        attn_implementation="eager",
        dtype="float32",
    )
    model = Olmo3ForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(0, params.embedding_std)
        for block in model.model.layers:
            block.post_attention_layernorm.weight.fill_(params.post_norm_gain)
            block.post_feedforward_layernorm.weight.fill_(params.post_norm_gain)
    return model

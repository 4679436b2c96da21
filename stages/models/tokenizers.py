"""Tokenizers are read here and nowhere else, so that none of them runs code of a repository. No torch here."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase


def read_tokenizer(
    source: str | Path,
    revision: str | None = None,
    config: PreTrainedConfig | None = None,
    gguf: str | None = None,
    local: bool = False,
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, of a GGUF file in it, or of the hub at ``revision``; ``local`` asks no hub.

    One that needs code of its repository is refused with ValueError; without the explicit refusal transformers asks on
    the terminal. Other errors are those of transformers: their message belongs to the place that knows the fix.
    """
    options = {"revision": revision, "config": config, "gguf_file": gguf}
    given = {name: value for name, value in options.items() if value is not None}
    return AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=local, **given)

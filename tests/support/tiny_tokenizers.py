"""Tokenizers of the kinds that models ship, small and real: what they add to a text, how they write spaces and bytes."""

import transformers as hf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from stages.organisms.tokenizer import build_tokenizer
from tests.support.tiny_models import reading_tokenizer

TEXTS = [
    "What is the sum of two and three?\nFirst two and three is five. So the answer is five.",
    "We saw the bird and the fish. We saw the stone in the river.\n\nThe answer: yes",
]
WORDS = ["bird", "fish", "stone", "river"]


def adding(tokenizer, template: str) -> hf.PreTrainedTokenizerFast:
    """Return the tokenizer with ``template`` around every text, such as "<bos> $A <eos>"."""
    special = [
        (name, tokenizer.convert_tokens_to_ids(name)) for name in dict.fromkeys(template.split()) if name != "$A"
    ]
    template_step = processors.TemplateProcessing(single=template, special_tokens=special)
    tokenizer.backend_tokenizer.post_processor = template_step
    return tokenizer


def word_tokenizer():
    """Return one token a word, <bos> in front."""
    return reading_tokenizer()


def byte_level_tokenizer():
    """Return byte-level BPE without special tokens around the text, as GPT-NeoX has it."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS * 4, trainer)
    core.post_processor = processors.ByteLevel(trim_offsets=True)
    return hf.PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", eos_token="<eos>")


def llama_tokenizer(template: str = "<bos> $A"):
    """Return BPE that writes spaces as ▁, puts one in front of the text, and falls back on bytes: as Llama 2 has it."""
    names = ["<unk>", "<bos>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256))]
    core = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=names, show_progress=False)
    pieces = [word for text in TEXTS * 4 for line in text.split("\n") for word in line.split(" ")]
    core.train_from_iterator(pieces, trainer)
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # Training marks all its special tokens as such; here only these three are, as in the real files.
    core = without_added(core, names[3:])
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    return adding(tokenizer, template)


def without_added(core: Tokenizer, names: list[str]) -> Tokenizer:
    """Return the tokenizer with ``names`` as ordinary pieces of its vocabulary."""
    import json

    content = json.loads(core.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in names]
    return Tokenizer.from_str(json.dumps(content))


def unigram_tokenizer():
    """Return a unigram model with byte fallback and ▁ for spaces, as sentencepiece writes it."""
    letters = sorted({letter for text in TEXTS for letter in text if letter not in " \n"})
    scores = [("<unk>", 0.0), ("<bos>", 0.0), ("<eos>", 0.0)]
    scores += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    words = sorted({f"▁{word}" for text in TEXTS for word in text.split()})
    scores += [("▁", -3.0), *((letter, -6.0) for letter in letters), *((word, -2.0) for word in words)]
    core = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    return adding(tokenizer, "<bos> $A")


def organism_tokenizer():
    """Return the tokenizer of the organisms, trained on a few texts."""
    return build_tokenizer(TEXTS * 4, WORDS, 320)


PLAIN = {
    "words": word_tokenizer,
    "byte-level BPE": byte_level_tokenizer,
    "Llama 2": llama_tokenizer,
    "unigram": unigram_tokenizer,
    "organisms": organism_tokenizer,
}
TEMPLATES = {"end": "<bos> $A <eos>", "end alone": "$A <eos>", "two ends": "<bos> $A <eos> <eos>", "front": "<bos> $A"}

"""A small study of concepts in a folder of its own: tiny random models, a text about everyday things, short settings."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.support.project import ROOT
from tests.support.tiny_models import CONFIGS

KINDS = {"animal": None, "thing": None, "bird": "animal", "fish": "animal", "tool": "thing", "coat": "thing"}
WORDS = {f"{kind}{i}": kind for kind in ("bird", "fish", "tool", "coat") for i in range(8)}
PLAIN = ("the", "a", "we", "saw", "every", "one", "it", "is", "and", "then", ".")
TEMPLATES = ["the {word}", "a {word}", "we saw {word}", "every {word}"]
USUAL = {"architecture": "hierarchical", "initial": "random", "k": 1, "orthogonality": "euclidean", "trained": True}
VARIANTS = {
    "random": USUAL | {"sibling_seeds": 1},
    "teacher": USUAL | {"initial": "teacher", "noise": [0.0, 1.0]},
    "causal": USUAL | {"initial": "shuffled", "orthogonality": "causal", "k": 2},
    "flat": USUAL | {"architecture": "flat"},
    "untrained": USUAL | {"trained": False},
}
COMPARISONS = {
    "teacher_start": {"more": "teacher", "less": "random"},
    "learning": {"more": "random", "less": "directions"},
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a word; any other word is two."""
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2} | {
        word: i for i, word in enumerate((*PLAIN, *WORDS, "un", "##known"), 3)
    }
    found = Tokenizer(models.WordPiece(vocabulary, unk_token="un"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="un"
    )


def checkpoint(folder: Path, family: str, seed: int, near: Path | None = None) -> Path:
    """Save a random model of the family with this tokenizer; ``near`` another, a little changed."""
    tokens = tokenizer()
    config = CONFIGS[family]()
    config.get_text_config().vocab_size = len(tokens)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        if near is not None:
            model.load_state_dict(AutoModelForCausalLM.from_pretrained(near).state_dict())
        for parameter in model.parameters():
            parameter.add_((0.3 if near is None else 0.02) * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def register(project: Path, name: str, folder: Path, family: str) -> None:
    """Register a local model as `fetch` leaves it."""
    pointer = {"path": str(folder), "paradigm": "other", "resolved_revision": "local", "weight_hash": "",
               "architecture": family.replace("gpt_neox_sequential", "gpt_neox"), "precision": None, "prompt_format": "plain"}  # fmt: skip
    (project / f"data/models/{name}").mkdir(parents=True)
    (project / f"data/models/{name}/model.json").write_text(json.dumps(pointer), encoding="utf-8")


def documents(count: int = 120) -> list[str]:
    generator = random.Random(0)
    return [
        " . ".join(
            f"{generator.choice(PLAIN[:6])} {generator.choice(list(WORDS))} is {generator.choice(PLAIN)}"
            for _ in range(4)
        )
        for _ in range(count)
    ]


def small() -> dict:
    """Return the committed parameters, made small, for models named one and two."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["study"] |= {"seeds": [], "models": {"one": "one", "two": "one"}}
    params["trace"]["text"] = "toy"
    params["concepts"] |= {
        "organisms": [], "models": {"one": "one", "two": "one"}, "templates": TEMPLATES, "held_out_templates": 1,
        "sequences": 16, "length": 16, "gate": params["concepts"]["gate"] | {"splits": 2, "draws": 20},
        "interventions": {"contexts": 8, "strengths": [0.5, 1.0]},
    }  # fmt: skip
    params["concepts"]["ontology"] |= {"source": "file", "least_words": 6}
    params["autoencoders"] |= {
        "model": "one", "variants": deepcopy(VARIANTS), "comparisons": deepcopy(COMPARISONS), "seeds": [0, 1], "parents": 6, "children": 4, "subspace": 4,
        "steps": 8, "batch": 64, "buffer": 128, "warmup": 2,
    }  # fmt: skip
    return params


def write_params(project: Path, params: dict) -> None:
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def prepare(project: Path, family: str = "llama") -> dict:
    """Make models one and two of a family, the text, the hierarchy; returns the parameters."""
    first = checkpoint(project / "checkpoints/one", family, 0)
    second = checkpoint(project / "checkpoints/two", family, 1, first)
    for name, folder in (("one", first), ("two", second)):
        register(project, name, folder, family)
    text = project / "data/trace/texts/toy.jsonl"
    text.parent.mkdir(parents=True)
    text.write_text("".join(json.dumps({"text": one}) + "\n" for one in documents()), encoding="utf-8")
    write_hierarchy(project)
    params = small()
    write_params(project, params)
    return params


def write_hierarchy(project: Path, words: dict[str, str] = WORDS) -> None:
    from stages.concepts.ontologies.hierarchy import checked_hierarchy, hold_out
    from stages.concepts.ontologies.hierarchy import write_hierarchy as write

    write(project / "data/concepts/words/hierarchy.json", checked_hierarchy(KINDS, words, hold_out(words, 0.25, 0), 6))

"""Make the pipeline in the current folder small: a few minutes, every stage, models that learn next to nothing.

``python -m tests.support.small_pipeline`` rewrites params.yaml and data/registry/texts.yaml of a copy of the project.
"""

from __future__ import annotations

from pathlib import Path

import yaml


def shrink(params: dict) -> None:
    """Shorten every study of ``params`` in place."""
    params["organisms"]["budget"]["effort"] = 0.05
    params["organisms"]["evaluation"] |= {"prompts": 20, "kl_prompts": 10, "new_tokens": 32}
    for recipe in "rl_zero", "think", "rl_shuffled":
        params["organisms"][recipe] |= {"prompts": 8, "rollouts": 4, "new_tokens": 32}
    params["organisms"]["sft_onpolicy"]["batch"] = 8
    params["collect"]["prompts"] = 100
    params["measure"] |= {"half_samples": 20, "nulls": {"subspaces": 100, "spectra": 2}}
    params["probe"] |= {"prompts": 2, "draws": 2, "singular_prompts": 2}
    params["perturb"] |= {"draws": 2, "prompts": 48, "half_samples": 6, "interpolation": [0.5]}
    params["trace"] |= {"sequences": 64, "checkpoints": 8, "accuracy": {"prompts": 10, "new_tokens": 8}}
    params["drift"] |= {"prompts": 32, "checkpoints": 3, "projections": 20, "draws": 20}
    params["concepts"]["sequences"] = 64
    params["concepts"]["gate"] |= {"splits": 2, "draws": 20}
    params["concepts"]["interventions"] |= {"contexts": 8, "strengths": [1.0]}
    params["autoencoders"]["variants"]["random"]["sibling_seeds"] = 1
    params["autoencoders"] |= {"seeds": [0, 1], "steps": 10, "warmup": 2, "buffer": 8192}


def rewrite(path: Path, change) -> None:
    """Change the content of a YAML file in place."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    rewrite(Path("params.yaml"), shrink)
    rewrite(Path("data/registry/texts.yaml"), lambda texts: texts["organisms"].update(documents=3000))

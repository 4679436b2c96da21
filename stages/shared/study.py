"""Parameters of the group `study`: which families, siblings, hub models and tasks run."""

from __future__ import annotations

import re

from pydantic import model_validator

from stages.shared.params import Group, ParamsError, Seed
from stages.shared.registry import SLUG, did_you_mean

RECIPES = ("base", "sft", "rl_zero", "think", "sft_matched", "sft_kl", "sft_onpolicy", "sft_continued", "rl_shuffled")
# The name of a model that is trained in the pipeline. Nothing else may bear one: `require_no_organism`.
ORGANISM = re.compile(rf"({'|'.join(RECIPES)})-s(\d+)", re.ASCII)


def require_no_organism(name: str, location: object) -> None:
    """Raise ParamsError where a model, a run or a corpus, named at ``location``, bears the name of an organism."""
    if ORGANISM.fullmatch(name):
        raise ParamsError(f"{location}: {name!r} is the name of an organism (recipe and seed): rename the entry")


class Study(Group):
    seeds: list[Seed]
    """One family of organisms each, with its own base."""
    organisms: list[str]
    """Siblings of every family; a family's base is the reference of the others."""
    models: dict[str, str]
    """Hub or local model: its reference. A model that is its own reference is a base."""
    tasks: list[str]
    """Generated tasks."""
    benchmarks: list[str]
    """Published ones; see `all_tasks`."""

    @model_validator(mode="after")
    def _sound(self) -> Study:
        for name in ("seeds", "organisms", "tasks", "benchmarks"):
            _require_unique(name, getattr(self, name))
        for organism in self.organisms:
            if organism not in RECIPES:
                raise ValueError(
                    f"unknown organism {organism!r}: {did_you_mean(organism, RECIPES)}allowed: {', '.join(RECIPES)}"
                )
        if self.organisms and self.seeds and "base" not in self.organisms:
            raise ValueError("organisms need 'base', the reference of all others: add it to study.organisms")
        _require_sound_models(self)
        if repeated := sorted(set(self.tasks) & set(self.benchmarks)):
            raise ValueError(f"{repeated[0]!r} stands in tasks and in benchmarks: name it in one of them")
        if not all_tasks(self):
            raise ValueError("nothing to feed to the models: name at least one task or benchmark")
        if not all_models(self):
            raise ValueError("nothing to study: name at least one organism and one seed, or one model")
        return self


def _require_sound_models(study: Study) -> None:
    organisms = organism_models(study)
    for slug, reference in study.models.items():
        if not re.fullmatch(SLUG, slug):
            raise ValueError(f"models.{slug}: a slug has letters, digits, - and _ only (it names stages and folders)")
        if slug in organisms:
            raise ValueError(
                f"{slug!r} is both an organism of this study and a model in study.models: rename the model"
            )
        require_no_organism(slug, "models")
        members = [*study.models, *organisms]
        if reference not in members:
            raise ValueError(
                f"models.{slug}: its reference {reference!r} is not in the study: {did_you_mean(reference, members)}in it: {', '.join(members)}"
            )
        root = study.models.get(reference, reference)
        if root != reference:
            raise ValueError(
                f"models.{slug}: its reference {reference!r} has itself the reference {root!r}: a reference is its own reference"
            )


def _require_unique(name: str, values: list) -> None:
    if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
        raise ValueError(f"{name}: {', '.join(repeated)} stands more than once: every value may stand only once")


def organism_models(study: Study) -> dict[str, str]:
    """Return the organism models `{organism}-s{seed}` of all families, each with its reference, the base of its family."""
    return {f"{organism}-s{seed}": f"base-s{seed}" for seed in study.seeds for organism in study.organisms}


def all_models(study: Study) -> dict[str, str]:
    """Return every model that runs, organisms first, each with its reference."""
    return {**organism_models(study), **study.models}


def all_tasks(study: Study) -> list[str]:
    """Return every task whose prompts are fed to the models, generated ones first."""
    return [*study.tasks, *study.benchmarks]

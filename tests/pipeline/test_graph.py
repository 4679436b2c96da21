"""dvc.yaml: complete dependencies, no more re-run than a change needs, nothing left of what was dropped."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from stages.shared.code_identity import import_closure
from tests.support.project import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
MOST_STAGES = 80
"""for one family, 60 of them without the study of concepts: the time that DVC takes grows with the square of the number"""


def body(stage: dict) -> dict:
    return stage.get("do", stage)


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_the_import_closure(name):
    stage = body(STAGES[name])
    module = re.match(r"python -m stages\.(\w+)", stage["cmd"])[1]
    expected = set(import_closure(f"stages/{module}.py"))
    if module == "prepare":  # loads the task's module by its name
        expected |= set(import_closure(*(f"stages/tasks/{task}.py" for task in PARAMS["tasks"])))
        expected -= {f"stages/tasks/{task}.py" for task in PARAMS["tasks"]}
        expected.add("stages/tasks/${item.task}.py")
    listed = [path for path in stage["deps"] if path.startswith("stages/")]
    assert sorted(listed) == sorted(expected), "deps in dvc.yaml should be:\n" + "\n".join(
        f"      - {path}" for path in sorted(expected)
    )


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_what_it_does(name):
    assert body(STAGES[name])["desc"].endswith(".")


def test_libraries_import_no_stage_and_stages_not_each_other():
    stage_files = {str(path.relative_to(ROOT)) for path in (ROOT / "stages").glob("*.py")} - {"stages/__init__.py"}
    for start in [*stage_files, *(str(path.relative_to(ROOT)) for path in (ROOT / "stages").glob("*/*.py"))]:
        assert not (set(import_closure(start)) - {start}) & stage_files, start


def test_pure_rooms_read_no_files_params_or_torch():
    """One file may use torch, for the GPU, and only once it is asked to: see the next test."""
    for path in [*(ROOT / "stages/geometry").glob("*.py"), *(ROOT / "stages/statistics").glob("*.py")]:
        text = path.read_text()
        for forbidden in ("stages.params", "pathlib", "open(", "environ"):
            assert forbidden not in text, f"{path.name} uses {forbidden}"
        assert "import torch" not in text or path.name == "linear_algebra.py", f"{path.name} uses torch"


def test_measuring_on_the_processor_loads_no_torch():
    code = "import sys, stages.paradigms.measure as m; m.use('cpu'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_init_files_of_libraries_are_empty():
    assert all(not path.read_text() for path in (ROOT / "stages").glob("*/__init__.py"))


def test_stages_stay_few(graph):
    names = graph.stages()
    assert len(names) <= MOST_STAGES


def test_lock_knows_exactly_the_stages(graph):
    names = graph.stages()
    assert set(yaml.safe_load((graph.folder / "dvc.lock").read_text())["stages"]) == names


def test_committed_lock_has_no_stage_that_is_gone():
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]) == set(listed.stdout.split())


def test_a_second_run_runs_nothing(graph):
    assert graph.would_run() == set()
    assert "Running stage" not in graph.run("dvc", "repro")


POST_TRAINED = {"sft", "rl_zero", "think", "sft_matched", "sft_kl", "sft_onpolicy", "sft_continued", "rl_shuffled"}
RECIPES = {"base", *POST_TRAINED}
COLLECTED = {f"collect@{organism}-0" for organism in RECIPES}
MEASURED = {f"measure@{organism}-0" for organism in RECIPES}
PROBED = {f"probe@{organism}-0" for organism in RECIPES}
MOVED = {"perturb@sft-0", "perturb@rl_zero-0"}
COUNTED = {"ngrams@base-0"}
TRACED = {f"trace@{organism}-0" for organism in ("base", "sft", "rl_zero", "think")}
EXTRACTED = {f"extract@{organism}-0" for organism in ("base", "sft", "rl_zero", "think", "sft_matched")}
AUTOENCODED = {"autoencode", "evaluate", "concepts", "plot-concepts"}
SAMPLED = {f"sample@{organism}-0" for organism in ("base", "sft", "rl_zero", "think", "sft_matched")}


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("tasks.logic.seed", 7, {"prepare@logic"}),
        ("tasks.ontology.properties", 3, {"prepare@ontology", "prepare-text", "prepare-concepts", "base@0", *COUNTED}),
        ("tasks.facts.most_exposures", 500, {"prepare@facts", "prepare-text", "base@0", *COUNTED}),
        ("organisms.architecture.layers", 6, {"base@0"}),
        ("organisms.base.documents", 9000, {"base@0", *COUNTED}),
        ("organisms.base.learning_rate", 1e-3, {"base@0"}),
        ("ngrams.answers", ["facts", "ontology"], COUNTED | TRACED),
        ("trace.sequences", 256, TRACED),
        ("trace.accuracy", None, TRACED),
        ("trace.confidence", 0.9, TRACED | {"phases", "plot-trace"}),
        ("phases.headline.level", "last_token", {"phases", "plot-trace"}),
        ("texts.organisms.seed", 1, {"prepare-text"}),
        ("texts.wikitext.documents", 9, set()),
        ("phases.draws", 500, {"phases"}),
        ("ngrams.api.tries", 9, set()),
        ("organisms.sft.steps", 10, {"sft@0"}),
        ("organisms.rl_zero.learning_rate", 1e-4, {"rl_zero@0"}),
        ("organisms.sft_kl.stop.every", 5, {"sft_kl@0"}),
        ("organisms.evaluation.prompts", 100, {f"{recipe}@0" for recipe in RECIPES}),
        ("collect.precision", "bfloat16", COLLECTED | SAMPLED | EXTRACTED),
        ("concepts.ontology.held_out", 0.3, {"prepare-concepts"}),
        ("concepts.gate.members_within", 0.4, {"concepts", "plot-concepts"}),
        ("concepts.templates", [" the {word}", " a {word}", " one {word}"], {*EXTRACTED, "autoencode", "evaluate"}),
        ("autoencoders.steps", 100, AUTOENCODED - {"concepts"}),
        ("autoencoders.variants.noisy.noise", [3.0], AUTOENCODED),
        ("autoencoders.comparisons.hierarchy.less", "two", {"concepts"}),
        ("drift.prompts", 64, SAMPLED),
        ("drift.seed", 1, {*SAMPLED, "drift"}),
        ("drift.noise", 0.1, {"drift"}),
        ("drift.basis", "raw", {"drift", "plot-drift"}),
        ("collect.prompts", 300, COLLECTED),
        ("measure.ks", [2, 4, 8], MEASURED),
        ("probe.draws", 4, PROBED),
        ("measure.headline_k", 4, {*MEASURED, *MOVED, "test", "plot"}),
        ("perturb.draws", 5, MOVED),
        ("hypotheses.matched_within", 0.02, {"test"}),
        ("hypotheses.alpha", 0.01, {"test", "plot"}),
        ("benchmarks.gsm8k.prompts", 100, set()),
    ],
)
def test_a_change_runs_exactly_the_stages_that_read_it(graph, key, value, stages):
    graph.set_param(key, value)
    assert graph.would_run() == stages


def test_another_family_adds_its_own_stages(graph):
    before = graph.stages()
    graph.set_param("study.seeds", [0, 1])
    new = {f"{recipe}@1" for recipe in RECIPES} | {
        f"{kind}@{recipe}-1" for kind in ("collect", "measure", "probe") for recipe in RECIPES
    }
    new |= {"perturb@sft-1", "perturb@rl_zero-1", "ngrams@base-1"}
    new |= {f"trace@{organism}-1" for organism in ("base", "sft", "rl_zero", "think")}
    new |= {name.replace("-0", "-1") for name in SAMPLED | EXTRACTED}
    assert graph.stages() - before == new


def test_a_hub_model_adds_its_stages_in_every_study(graph):
    graph.set_param("study.models", {"gpt2": "gpt2"})
    kinds = ("fetch", "collect-model", "measure-model", "probe-model", "sample-model")
    assert {f"{kind}@gpt2" for kind in kinds} <= graph.stages()


def test_trajectories_run_where_they_are_asked_for_and_nothing_else_does(graph):
    before = graph.stages()
    assert not {name for name in before if name.startswith("paths")}
    graph.set_param("paths.organisms", ["sft", "rl_zero"])
    assert graph.stages() - before == graph.would_run() == {"paths@sft-0", "paths@rl_zero-0"}
    graph.set_param("study.models", {"gpt2": "gpt2"})
    graph.set_param("paths.models", {"gpt2": "gpt2"})
    assert "paths-model@gpt2" in graph.stages()


def test_a_run_of_the_registry_is_traced_and_depends_on_its_own_entry(graph):
    graph.set_param("trace.runs", ["pythia-14m"])
    assert graph.stages() >= {"trace-run@pythia-14m"} and "trace-run@pythia-14m" in graph.would_run()


def test_a_run_of_the_registry_is_sampled_at_its_checkpoints(graph):
    graph.set_param("drift.runs", ["pythia-14m"])
    assert graph.would_run() == {"sample-run@pythia-14m", "drift", "plot-drift"}


def test_concepts_of_a_hub_model_are_read_where_they_are_asked_for(graph):
    graph.set_param("study.models", {"gpt2": "gpt2"})
    assert "extract-model@gpt2" not in graph.stages()
    graph.set_param("concepts.models", {"gpt2": "gpt2"})
    assert "extract-model@gpt2" in graph.stages()


def test_without_organisms_of_concepts_the_rest_still_stands(graph):
    graph.set_param("concepts.organisms", [])
    assert not {name for name in graph.stages() if name.startswith("extract")}
    assert {"autoencode", "evaluate", "concepts"} <= graph.would_run()


def test_without_traced_runs_the_rest_still_stands(graph):
    graph.set_param("trace.organisms", [])
    graph.set_param("ngrams.organisms", [])
    assert {name for name in graph.stages() if name.startswith(("trace", "ngrams"))} == set()
    assert "phases" in graph.stages()


def test_a_hub_model_can_be_perturbed(graph):
    graph.set_param("study.models", dict.fromkeys(("gpt2", "gpt2-sft", "gpt2-rl"), "gpt2"))
    graph.set_param("perturb.models", {"gpt2-sft": {"reference": "gpt2", "like": "gpt2-rl"}})
    assert "perturb-model@gpt2-sft" in graph.stages()


def test_without_the_engine_no_corpus_is_looked_into_and_a_named_one_can_be(graph):
    graph.set_param("ngrams.organisms", [])
    assert not {name for name in graph.stages() if name.startswith("ngrams")}
    graph.set_param("ngrams.corpora", {"pile": {"index": "v4_piletrain_llama"}, "mine": {"file": "a.txt"}})
    assert {name for name in graph.stages() if name.startswith("ngrams")} == {
        "ngrams-corpus@pile",
        "ngrams-corpus@mine",
    }
    graph.run("dvc", "repro", "-q", "ngrams-corpus@mine")
    graph.set_param("ngrams.corpora", {"pile": {"index": "v4_pileval_llama"}, "mine": {"file": "a.txt"}})
    assert not {name for name in graph.would_run() if name.endswith("mine")}


def test_a_benchmark_adds_its_preparation(graph):
    graph.set_param("study.benchmarks", ["gsm8k", "humaneval"])
    assert {"prepare-benchmark@gsm8k", "prepare-benchmark@humaneval"} <= set(graph.stages())


def test_without_seeds_no_organism_is_trained(graph):
    graph.set_param("study.seeds", [])
    graph.set_param("study.models", {"gpt2": "gpt2"})
    names = graph.stages()
    assert not {name for name in names if name.split("@")[0] in RECIPES}


def test_a_parameter_changed_back_is_served_from_the_cache(graph):
    graph.set_param("organisms.sft.steps", 10)
    graph.run("dvc", "repro", "-q")
    graph.set_param("organisms.sft.steps", PARAMS["organisms"]["sft"]["steps"])
    output = graph.run("dvc", "repro")
    assert "Running stage" not in output and "cached" in output


def test_no_large_artifact_is_in_git():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert not [
        name for name in tracked if name.endswith((".h5", ".safetensors", ".parquet", ".bin", ".pt", ".npz", ".pkl"))
    ]
    assert sum((ROOT / name).stat().st_size for name in tracked if name.startswith("plots/")) < 3_000_000
    assert all((ROOT / name).stat().st_size < 150_000 for name in tracked if name.startswith("plots/"))

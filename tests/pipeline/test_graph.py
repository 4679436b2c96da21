"""dvc.yaml: complete dependencies, no more re-run than a change needs, nothing left of what was dropped."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from tests.support.project import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
# The time that DVC takes grows with the square of the number of stages, and with the size of the lock.
MOST_STAGES, LONGEST_PIPELINE, LARGEST_LOCK = 80, 1100, 120_000
POST_TRAINED = {"sft", "rl_zero", "think", "sft_matched", "sft_kl", "sft_onpolicy", "sft_continued", "rl_shuffled"}
RECIPES = {"base", *POST_TRAINED}


def body(stage: dict) -> dict:
    return stage.get("do", stage)


@pytest.mark.parametrize("name", [name for name in STAGES if name != "code"])
def test_a_stage_depends_on_the_fingerprint_of_its_code_and_on_no_code(name):
    stage = body(STAGES[name])
    module = re.match(r"python -m stages\.([\w.]+)", stage["cmd"])[1]
    chosen = ".${item.task}" if name == "prepare" else ""  # the cell names a module
    assert f"data/code/{module}{chosen}.txt" in stage["deps"]
    assert not [path for path in stage["deps"] if path.startswith("stages")]


@pytest.mark.parametrize("name", [name for name in STAGES if name != "code"])
def test_a_stage_is_named_by_its_study_and_verb(name):
    """Stages of the paradigm study have the verb alone; an ending says what else the cells are."""
    study, verb = re.match(r"python -m stages\.(\w+)\.(\w+)", body(STAGES[name])["cmd"]).groups()
    stem = re.sub("-(model|run|corpus|benchmark)$", "", name)
    assert stem == (f"{study}-{verb}" if study not in ("paradigms", "organisms") else stem)
    if study == "paradigms":
        assert stem == verb
    if study == "organisms":
        assert stem in RECIPES or stem == verb


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_what_it_does(name):
    assert body(STAGES[name])["desc"].endswith(".")


def test_measuring_on_the_processor_loads_no_torch():
    code = "import sys, stages.paradigms.measure as m; m.use('cpu'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_stages_stay_few(graph):
    names = graph.stages()
    assert len(names) <= MOST_STAGES


def test_the_pipeline_and_its_lock_stay_small():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= LONGEST_PIPELINE
    assert (ROOT / "dvc.lock").stat().st_size <= LARGEST_LOCK


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


COLLECTED = {f"collect@{organism}-0" for organism in RECIPES}
MEASURED = {f"measure@{organism}-0" for organism in RECIPES}
PROBED = {f"probe@{organism}-0" for organism in RECIPES}
MOVED = {"perturb@sft-0", "perturb@rl_zero-0"}
COUNTED = {"trace-count@base-0"}
TRACED = {f"trace-follow@{organism}-0" for organism in ("base", "sft", "rl_zero", "think")}
EXTRACTED = {f"concepts-extract@{organism}-0" for organism in ("base", "sft", "rl_zero", "think", "sft_matched")}
AUTOENCODED = {"concepts-autoencode", "concepts-evaluate", "concepts-summarise", "concepts-plot"}
SAMPLED = {f"drift-sample@{organism}-0" for organism in ("base", "sft", "rl_zero", "think", "sft_matched")}


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("tasks.logic.seed", 7, {"prepare@logic"}),
        ("tasks.ontology.properties", 3, {"prepare@ontology", "trace-prepare", "concepts-prepare", "base@0", *COUNTED}),
        ("tasks.facts.most_exposures", 500, {"prepare@facts", "trace-prepare", "base@0", *COUNTED}),
        ("organisms.architecture.layers", 6, {"base@0"}),
        ("organisms.base.documents", 9000, {"base@0", *COUNTED}),
        ("organisms.base.learning_rate", 1e-3, {"base@0"}),
        ("ngrams.answers", ["facts", "ontology"], COUNTED | TRACED),
        ("trace.sequences", 256, TRACED),
        ("trace.accuracy", None, TRACED),
        ("trace.confidence", 0.9, TRACED | {"trace-summarise", "trace-plot"}),
        ("phases.headline.level", "last_token", {"trace-summarise", "trace-plot"}),
        ("data/registry/texts.yaml:organisms.seed", 1, {"trace-prepare"}),
        ("data/registry/texts.yaml:wikitext.documents", 9, set()),
        ("phases.draws", 500, {"trace-summarise"}),
        ("ngrams.api.tries", 9, set()),
        ("organisms.sft.steps", 10, {"sft@0"}),
        ("organisms.rl_zero.learning_rate", 1e-4, {"rl_zero@0"}),
        ("organisms.sft_kl.stop.every", 5, {"sft_kl@0"}),
        ("organisms.evaluation.prompts", 100, {f"{recipe}@0" for recipe in RECIPES}),
        ("collect.precision", "bfloat16", COLLECTED | SAMPLED | EXTRACTED),
        ("concepts.ontology.held_out", 0.3, {"concepts-prepare"}),
        ("concepts.gate.members_within", 0.4, {"concepts-summarise", "concepts-plot"}),
        (
            "concepts.templates",
            [" the {word}", " a {word}", " one {word}"],
            {*EXTRACTED, "concepts-autoencode", "concepts-evaluate"},
        ),
        ("autoencoders.steps", 100, AUTOENCODED - {"concepts-summarise"}),
        ("autoencoders.variants.noisy.noise", [3.0], AUTOENCODED),
        ("autoencoders.comparisons.hierarchy.less", "two", {"concepts-summarise"}),
        ("drift.prompts", 64, SAMPLED),
        ("drift.seed", 1, {*SAMPLED, "drift-measure"}),
        ("drift.noise", 0.1, {"drift-measure"}),
        ("drift.basis", "raw", {"drift-measure", "drift-plot"}),
        ("collect.prompts", 300, COLLECTED),
        ("measure.ks", [2, 4, 8], MEASURED),
        ("probe.draws", 4, PROBED),
        ("measure.headline_k", 4, {*MEASURED, *MOVED, "test", "plot"}),
        ("perturb.draws", 5, MOVED),
        ("hypotheses.matched_within", 0.02, {"test"}),
        ("hypotheses.alpha", 0.01, {"test", "plot"}),
        ("data/registry/benchmarks.yaml:gsm8k.prompts", 100, set()),
    ],
)
def test_a_change_runs_exactly_the_stages_that_read_it(graph, key, value, stages):
    graph.set_param(key, value)
    assert graph.would_run() == stages


def edit(graph, file: str, text: str) -> None:
    """Append ``text`` to a file of the code; take its fingerprints anew."""
    path = graph.folder / file
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    assert graph.would_run() == {"code"}  # what follows is seen only once the fingerprints are there
    graph.run("dvc", "repro", "-q", "code")


@pytest.mark.parametrize(
    "file", ["stages/shared/files.py", "stages/geometry/transport.py", "stages/organisms/pretrain.py"]
)
def test_a_comment_or_a_docstring_runs_nothing(graph, file):
    edit(graph, file, '\n\n# A remark.\n"""And a string that documents."""\n')
    assert graph.would_run() == set()


@pytest.mark.parametrize(
    "file", ["stages/geometry/transport.py", "stages/tasks/logic.py", "stages/activations/store.py"]
)
def test_an_edit_runs_exactly_the_stages_that_import_the_file(graph, file):
    edit(graph, file, "\n\nADDED = 1\n")
    expected = {
        cell
        for cell in graph.stages() - {"code"}
        if file in (graph.folder / fingerprint_of(cell)).read_text(encoding="utf-8")
    }
    assert expected and graph.would_run() == expected


def fingerprint_of(cell: str) -> str:
    """The file that the cell of a stage depends on for its code."""
    name, _, task = cell.partition("@")
    paths = [path for path in body(STAGES[name])["deps"] if path.startswith("data/code/")]
    return paths[0].replace("${item.task}", task)


def test_another_family_adds_its_own_stages(graph):
    before = graph.stages()
    graph.set_param("study.seeds", [0, 1])
    new = {f"{recipe}@1" for recipe in RECIPES} | {
        f"{kind}@{recipe}-1" for kind in ("collect", "measure", "probe") for recipe in RECIPES
    }
    new |= {"perturb@sft-1", "perturb@rl_zero-1", "trace-count@base-1"}
    new |= {f"trace-follow@{organism}-1" for organism in ("base", "sft", "rl_zero", "think")}
    new |= {name.replace("-0", "-1") for name in SAMPLED | EXTRACTED}
    assert graph.stages() - before == new


def test_a_hub_model_adds_its_stages_in_every_study(graph):
    graph.set_param("study.models", {"gpt2": "gpt2"})
    kinds = ("fetch", "collect-model", "measure-model", "probe-model", "drift-sample-model")
    assert {f"{kind}@gpt2" for kind in kinds} <= graph.stages()


def test_trajectories_run_where_they_are_asked_for_and_nothing_else_does(graph):
    before = graph.stages()
    assert not {name for name in before if name.startswith("traverse")}
    graph.set_param("paths.organisms", ["sft", "rl_zero"])
    assert graph.stages() - before == graph.would_run() == {"traverse@sft-0", "traverse@rl_zero-0"}
    graph.set_param("study.models", {"gpt2": "gpt2"})
    graph.set_param("paths.models", {"gpt2": "gpt2"})
    assert "traverse-model@gpt2" in graph.stages()


def test_a_run_of_the_registry_is_traced_and_depends_on_its_own_entry(graph):
    graph.set_param("trace.runs", ["pythia-14m"])
    graph.run("dvc", "repro", "-q", "trace-pin-run@pythia-14m")  # a dry run reads what it writes
    assert graph.stages() >= {"trace-follow-run@pythia-14m"} and "trace-follow-run@pythia-14m" in graph.would_run()


def test_a_run_of_the_registry_is_sampled_at_its_checkpoints(graph):
    graph.set_param("drift.runs", ["pythia-14m"])
    graph.run("dvc", "repro", "-q", "drift-pin-run@pythia-14m")  # a dry run reads what it writes
    chain = {"drift-pin-run@pythia-14m", "drift-sample-run@pythia-14m", "drift-measure", "drift-plot"}
    assert graph.would_run() == chain


def test_concepts_of_a_hub_model_are_read_where_they_are_asked_for(graph):
    graph.set_param("study.models", {"gpt2": "gpt2"})
    assert "concepts-extract-model@gpt2" not in graph.stages()
    graph.set_param("concepts.models", {"gpt2": "gpt2"})
    assert "concepts-extract-model@gpt2" in graph.stages()


def test_without_organisms_of_concepts_the_rest_still_stands(graph):
    graph.set_param("concepts.organisms", [])
    assert not {name for name in graph.stages() if name.startswith("concepts-extract")}
    assert AUTOENCODED - {"concepts-plot"} <= graph.would_run()


def test_without_traced_runs_the_rest_still_stands(graph):
    graph.set_param("trace.organisms", [])
    graph.set_param("ngrams.organisms", [])
    assert {name for name in graph.stages() if name.startswith(("trace-follow", "trace-count"))} == set()
    assert "trace-summarise" in graph.stages()


def test_a_hub_model_can_be_perturbed(graph):
    graph.set_param("study.models", dict.fromkeys(("gpt2", "gpt2-sft", "gpt2-rl"), "gpt2"))
    graph.set_param("perturb.models", {"gpt2-sft": {"reference": "gpt2", "like": "gpt2-rl"}})
    assert "perturb-model@gpt2-sft" in graph.stages()


def test_without_the_engine_no_corpus_is_looked_into_and_a_named_one_can_be(graph):
    graph.set_param("ngrams.organisms", [])
    assert not {name for name in graph.stages() if name.startswith("trace-count")}
    graph.set_param("ngrams.corpora", {"pile": {"index": "v4_piletrain_llama"}, "mine": {"file": "a.txt"}})
    assert {name for name in graph.stages() if name.startswith("trace-count")} == {
        "trace-count-corpus@pile",
        "trace-count-corpus@mine",
    }
    graph.run("dvc", "repro", "-q", "trace-count-corpus@mine", "trace-pin-corpus@pile")
    graph.set_param("ngrams.corpora", {"pile": {"index": "v4_pileval_llama"}, "mine": {"file": "a.txt"}})
    assert {name for name in graph.would_run() if name.endswith("mine")} == {"trace-pin-corpus@mine"}  # always runs


@pytest.mark.parametrize(
    ("key", "value", "pin", "cell"),
    [
        ("ngrams.corpora", {"mine": {"file": "a.txt"}}, "data/trace/pins/corpus/mine.json", "trace-count-corpus@mine"),
        ("trace.runs", ["pythia-14m"], "data/trace/pins/run/pythia-14m.json", "trace-follow-run@pythia-14m"),
        ("drift.runs", ["pythia-14m"], "data/drift/pins/pythia-14m.json", "drift-sample-run@pythia-14m"),
    ],
)
def test_other_local_files_behind_a_name_run_what_reads_them(graph, key, value, pin, cell):
    graph.set_param(key, value)
    graph.run("dvc", "repro", "-q", cell)
    assert cell not in graph.would_run()
    path = graph.folder / "tests/pipeline/stub.py"  # makes other pins from now on
    path.write_text(path.read_text().replace('{"value": 1.0}', '{"value": 2.0}'))
    assert f"Running stage '{cell}'" in graph.run("dvc", "repro", cell)
    assert (graph.folder / pin).is_file()


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

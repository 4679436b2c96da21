"""The stage from end to end on a tiny family, and bad inputs: a clear error and nothing half-written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import models

from stages import PINNED
from stages.activations.store import ActivationError, read_header, read_offsets, read_site, require_comparable
from stages.activations.tokens import CollectionError
from stages.models.checkpoint import ModelError, weight_hash
from stages.models.sites import CaptureError
from stages.paradigms import collect, scheduler, shards
from stages.paradigms.comparability import comparable_header
from stages.paradigms.quality import QualityError
from stages.shared.files import DiskFullError
from stages.shared.params import ParamsError
from stages.tasks.item import TaskError
from tests.support.interrupt import interrupt
from tests.support.project import ROOT
from tests.support.small_disk import resize, small_disk
from tests.support.tiny_models import VOCABULARY, reading_tokenizer, tiny_tokenizer

PROMPTS, HEAVY = 12, VOCABULARY - 1


@pytest.fixture
def project(tiny_folders, tmp_path, monkeypatch):
    """A project with two siblings and two tasks; returns a function that edits params.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEVICE", "cpu")
    for name in ("base-s0", "sft-s0"):
        shutil.copytree(tiny_folders["olmo3"], tmp_path / "data/models" / name)
    change_weight("sft-s0", "model.layers.1.mlp.up_proj.weight", lambda weight: weight * 1.1)
    (tmp_path / "data/tasks").mkdir()
    rng = np.random.default_rng(0)
    for task in ("arithmetic", "logic"):
        rows = [
            {
                "id": f"{task}-{i}",
                "prompt": " ".join(f"w{w}" for w in rng.integers(3, HEAVY, size=2 + i)),
                "answer": "1",
                "split": split,
            }
            for i, split in enumerate(["held_out", "train"] * (PROMPTS + 2))
        ]
        (tmp_path / f"data/tasks/{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    edit_params()
    return tmp_path


def edit_params(**changes):
    quality = {"usable": 0.8, "norm_low": 1e-3, "norm_high": 1e6}
    params = {
        "prompts": PROMPTS,
        "aggregations": ["last_token", "mean", "all_tokens"],
        "sites": ["resid_mid", "resid_post"],
    }
    params |= {"tokens_per_batch": 128, "precision": "float32", "all_tokens_dtype": "float32", "quality": quality}
    params |= changes
    study = {"seeds": [0], "organisms": ["base", "sft"], "models": {}, "tasks": ["arithmetic"], "benchmarks": ["logic"]}
    Path("params.yaml").write_text(yaml.safe_dump({"study": study, "collect": params}))


def change_weight(name, key, change):
    path = Path("data/models") / name / "model.safetensors"
    weights = load_file(path)
    weights[key] = change(weights[key]).contiguous()
    save_file(weights, path, metadata={"format": "pt"})


def outputs():
    return sorted(str(path) for path in Path("data/activations").rglob("*") if path.is_file())


def test_the_files_of_a_model(project):
    collect.main("sft-s0", "base-s0")
    assert outputs() == [f"data/activations/sft-s0/{name}" for name in ("arithmetic.h5", "logic.h5", "quality.json")]
    assert [path.name for path in Path("data/activations").iterdir()] == ["sft-s0"]
    path = Path("data/activations/sft-s0/logic.h5")
    header = read_header(path)
    assert (header.model, header.task, header.paradigm, header.architecture) == ("sft-s0", "logic", "sft", "olmo3")
    assert (header.n_layers, header.d_model, header.precision, header.prompt_format) == (3, 16, "float32", "plain")
    assert header.weight_hash == weight_hash(project / "data/models/sft-s0")
    assert header.prompt_ids == tuple(f"logic-{2 * i}" for i in range(PROMPTS))  # the first held-out ones, in order
    assert set(header.library_versions) >= {"torch", "transformers"}
    offsets, mask = read_offsets(path)
    tokens = read_site(path, "all_tokens", "resid_post", 2)
    np.testing.assert_array_equal(tokens[offsets[1:] - 1], read_site(path, "last_token", "resid_post", 2))
    means = [tokens[a:b][mask[a:b]].mean(axis=0) for a, b in zip(offsets, offsets[1:], strict=False)]
    np.testing.assert_allclose(means, read_site(path, "mean", "resid_post", 2), rtol=1e-4, atol=1e-5)
    report = json.loads(Path("data/activations/sft-s0/quality.json").read_text())
    assert report["logic"]["usable"] == PROMPTS and report["arithmetic"]["hooks"] == 3 * 2 * 3


def test_siblings_see_the_tokens_of_the_reference(project):
    """Also when a sibling's own tokenizer adds nothing in front."""
    own = tiny_tokenizer()
    own.backend_tokenizer.post_processor = None
    own.save_pretrained("data/models/sft-s0")
    for name in ("base-s0", "sft-s0"):
        collect.main(name, "base-s0")
    base, sft = (read_header(Path(f"data/activations/{name}/logic.h5")) for name in ("base-s0", "sft-s0"))
    assert base.token_hash == sft.token_hash
    require_comparable(base, sft)
    collect.main("sft-s0", "sft-s0")
    with pytest.raises(ActivationError, match="base-s0 and sft-s0 on logic are not comparable: token_hash differs"):
        require_comparable(base, read_header(Path("data/activations/sft-s0/logic.h5")))


def with_vocabulary(name, order):
    """Save the tiny tokenizer with its words in another order: as many, under other ids."""
    tokenizer = tiny_tokenizer()
    words = ["<pad>", "<bos>", "<eos>", *(f"w{i}" for i in order)]
    tokenizer.backend_tokenizer.model = models.WordLevel({word: i for i, word in enumerate(words)})
    tokenizer.save_pretrained(f"data/models/{name}")


@pytest.mark.parametrize(
    "order", [range(39, 2, -1), [4, 3, *range(5, 40)], [*range(4, 40), 3]], ids=["reversed", "two", "turned"]
)
def test_a_sibling_whose_words_stand_in_another_order_is_not_fed_them(project, order):
    with_vocabulary("sft-s0", order)
    allow_unlike()
    message = r"model sft-s0: token 3 is 'w\d+' in its own vocabulary and 'w3' in that of .*base-s0.*add tokenizer to measure.unlike"
    with pytest.raises(CollectionError, match=message):
        collect.plan_work("sft-s0", "base-s0")
    allow_unlike("tokenizer")
    assert len(collect.plan_work("sft-s0", "base-s0").plans) == 2


def allow_unlike(*conditions):
    params = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(params | {"measure": {"unlike": list(conditions)}}))


@pytest.mark.parametrize("name", ["another name of the end token", "more words"])
def test_a_sibling_that_differs_in_tokens_that_it_is_not_fed_is_no_error(project, name):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["new"])
    if name == "another name of the end token":
        words = tokenizer.get_vocab() | {"<|end|>": 2}
        del words["<eos>"]
        tokenizer.backend_tokenizer.model = models.WordLevel(words)
        tokenizer.eos_token = "<|end|>"
    tokenizer.save_pretrained("data/models/sft-s0")
    assert len(collect.plan_work("sft-s0", "base-s0").plans) == 2


def test_other_tokens_are_named_by_the_first(project):
    collect.main("base-s0", "base-s0")
    rows = [json.loads(line) for line in Path("data/tasks/logic.jsonl").read_text().splitlines()]
    words = rows[4]["prompt"].split()
    for changed, place in ((words[:2] + ["w9" if words[2] != "w9" else "w8"] + words[3:], 3), (words[:-1], len(words))):
        rows[4]["prompt"] = " ".join(changed)
        Path("data/tasks/logic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        collect.main("sft-s0", "base-s0")
        files = [Path(f"data/activations/{name}/logic.h5") for name in ("base-s0", "sft-s0")]
        with pytest.raises(
            ActivationError, match=rf"token_hash differs \(prompt logic-4, token {place}: \d+ in base-s0 and"
        ):
            comparable_header(files, [], 1)


def add_reasoning(key, words):
    """A worked solution of so many words, and its answer, to every row."""
    for path in Path("data/tasks").iterdir():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [row | {key: " ".join(f"w{w}" for w in words(i)) + " = 1"} for i, row in enumerate(rows)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_siblings_are_read_inside_the_same_reasoning(project):
    """It leaves the prompt as it was, and another text of it is another condition."""
    collect.main("sft-s0", "base-s0")
    path = Path("data/activations/sft-s0/logic.h5")
    alone = read_site(path, "last_token", "resid_post", 2)
    add_reasoning("long", lambda i: range(3, 6 + i))
    edit_params(aggregations=["last_token", "reasoning_middle", "reasoning_end"], reasoning=["long", "solution"])
    reading_tokenizer().save_pretrained("data/models/base-s0")
    for name in ("base-s0", "sft-s0"):
        collect.main(name, "base-s0")
    headers = [read_header(Path(f"data/activations/{name}/logic.h5")) for name in ("base-s0", "sft-s0")]
    require_comparable(*headers)
    assert "reasoning_end: its last token" in headers[1].mask
    np.testing.assert_allclose(read_site(path, "last_token", "resid_post", 2), alone, rtol=1e-4, atol=1e-5)
    assert not np.allclose(read_site(path, "reasoning_end", "resid_post", 2), alone, atol=1e-2)
    add_reasoning("long", lambda i: range(4, 7 + i))
    collect.main("sft-s0", "base-s0")
    with pytest.raises(ActivationError, match="base-s0 and sft-s0 on logic are not comparable: token_hash differs"):
        require_comparable(headers[0], read_header(path))
    add_reasoning("short", lambda i: [3])
    edit_params(aggregations=["last_token", "reasoning_middle", "reasoning_end"], reasoning=["short"])
    collect.main("sft-s0", "base-s0")
    with pytest.raises(
        ActivationError, match="base-s0 and sft-s0 on logic.*mask differs .*long, solution.* and .*short"
    ):
        require_comparable(headers[0], read_header(path))


def test_the_command_twice_gives_the_same_bytes_and_imports_little(project):
    def run():
        code = "import runpy, sys; sys.argv = ['collect', 'sft-s0', 'base-s0']; runpy.run_module('stages.paradigms.collect', run_name='__main__'); "
        code += "print([name for name in ('pandas', 'matplotlib', 'trl', 'datasets', 'statsmodels') if name in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(ROOT), "DEVICE": "cpu", **PINNED},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "[]\n"
        assert "INFO sft-s0: olmo3, 3 layers, width 16, float32 on cpu" in done.stderr and "tokens/s" in done.stderr
        assert "INFO sft-s0 logic: 12 prompts, 168 tokens, 18 datasets of width 16" in done.stderr
        return {path: Path(path).read_bytes() for path in outputs()}

    first = run()
    shutil.rmtree(shards.scratch_folder())
    collect.main("sft-s0", "base-s0")  # in this process, with its other imports
    assert {path: Path(path).read_bytes() for path in outputs()} == first


def test_unusable_prompts_are_left_out_and_the_comparison_says_so(project):
    """A token whose embedding is out of bounds: its prompts go, the stage succeeds, and nothing is silently intersected."""
    rows = [json.loads(line) for line in Path("data/tasks/logic.jsonl").read_text().splitlines()]
    rows[4]["prompt"] += f" w{HEAVY}"
    Path("data/tasks/logic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    change_weight(
        "sft-s0",
        "model.embed_tokens.weight",
        lambda weight: weight * torch.where(torch.arange(VOCABULARY)[:, None] == HEAVY, 1e8, 1.0),
    )
    for name in ("base-s0", "sft-s0"):
        collect.main(name, "base-s0")
    report = json.loads(Path("data/activations/sft-s0/quality.json").read_text())["logic"]
    assert (report["usable"], list(report["dropped"])) == (PROMPTS - 1, ["logic-4"])
    path = Path("data/activations/sft-s0/logic.h5")
    assert read_site(path, "last_token", "resid_mid", 0).shape == (PROMPTS - 1, 16)
    assert len(read_offsets(path)[0]) == PROMPTS
    base = read_header(Path("data/activations/base-s0/logic.h5"))
    with pytest.raises(
        ActivationError,
        match="prompt_ids differs .sft-s0 lacks 1 of 12 prompts, e.g. logic-4: see dropped in its quality.json",
    ):
        require_comparable(base, read_header(path))
    sound = Path("data/activations/base-s0/logic.h5")  # the other prompts are untouched
    first, other = (read_site(file, "last_token", "resid_mid", 0)[:2] for file in (path, sound))
    np.testing.assert_array_equal(first, other)


BAD = {
    "norm bounds": (
        lambda: edit_params(quality={"usable": 0.8, "norm_low": 1e-3, "norm_high": 1e-2}),
        QualityError, "only 0 of 12 prompts are usable, 80% expected.*arithmetic-0: norm .* at last_token/blocks.0.hook_resid_mid.*collect.quality",
    ),
    "NaN activations": (
        lambda: change_weight("sft-s0", "model.layers.1.mlp.up_proj.weight", lambda weight: weight * torch.nan),
        CaptureError, "olmo3, layer 1: resid_post or what is added to it is not finite: check the weights",
    ),
    "NaN on some tokens": (
        lambda: change_weight("sft-s0", "model.embed_tokens.weight", lambda w: torch.where(torch.arange(VOCABULARY)[:, None] > 9, torch.nan, w)),
        QualityError, "prompts are usable.*norm nan at last_token/blocks.0.hook_resid_mid.*check the weights",
    ),
    "missing model": (lambda: shutil.rmtree("data/models/sft-s0"), ModelError, "data/models/sft-s0 not found.*dvc repro sft`"),
    "missing reference": (lambda: shutil.rmtree("data/models/base-s0"), ModelError, "data/models/base-s0 not found.*dvc repro base`"),
    "truncated weights": (
        lambda: Path("data/models/sft-s0/model.safetensors").write_bytes(b"1234567890"),
        ModelError, "data/models/sft-s0 cannot be loaded",
    ),
    "missing task": (lambda: Path("data/tasks/logic.jsonl").unlink(), TaskError, "logic.jsonl not found: run `dvc repro prepare@logic`"),
    "too few prompts": (lambda: edit_params(prompts=500), TaskError, "task 'arithmetic' has 14 held_out prompts, 500 asked for"),
    "long prompt": (
        lambda: Path("data/tasks/logic.jsonl").write_text(
            "".join(json.dumps({"id": f"x{i}", "prompt": "w3 " * 90, "answer": "", "split": "held_out"}) + "\n" for i in range(PROMPTS))
        ),
        CollectionError, "prompt x0 has 91 tokens, the model 64 positions",
    ),
    "misspelt site": (lambda: edit_params(sites=["resid_pots"]), ParamsError, "collect.sites.0: .*'resid_pre', 'resid_mid' or 'resid_post'.*'resid_pots'"),
    "unknown aggregation": (lambda: edit_params(aggregations=["max"]), ParamsError, "collect.aggregations.0: .*'last_token', 'mean', 'all_tokens', 'reasoning_middle' or 'reasoning_end'.*'max'"),
    "reasoning of rows that have none": (
        lambda: edit_params(aggregations=["mean", "reasoning_end"], reasoning=["long"]),
        CollectionError, "task 'arithmetic', row arithmetic-0 has no worked solution .long.*-S 'collect.aggregations=.mean.'",
    ),
    "reasoning without its key": (
        lambda: edit_params(aggregations=["reasoning_end"]), ParamsError, "collect: .*reasoning_end needs the keys of the worked solutions",
    ),
    "repeated aggregation": (lambda: edit_params(aggregations=["mean", "mean"]), ParamsError, "collect.aggregations: .*only once"),
    "no site": (lambda: edit_params(sites=[]), ParamsError, "collect.sites: .*at least 1"),
    "half precision": (lambda: edit_params(precision="float16"), ParamsError, "collect.precision: .*'float32', 'bfloat16', 'int8' or 'nf4'.*'float16'"),
    "unknown key": (lambda: edit_params(pricision="float32"), ParamsError, "unknown key collect.pricision: did you mean 'precision'"),
    "bounds in the wrong order": (
        lambda: edit_params(quality={"usable": 0.8, "norm_low": 2, "norm_high": 1}), ParamsError, "collect.quality: .*must be below norm_high",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_clear_error_and_leaves_nothing(case, project):
    spoil, kind, message = BAD[case]
    spoil()
    with pytest.raises(kind, match=message):
        collect.main("sft-s0", "base-s0")
    assert not Path("data/activations").exists() or list(Path("data/activations").iterdir()) == []


def test_a_failure_keeps_the_earlier_result(project):
    collect.main("sft-s0", "base-s0")
    before = {path: Path(path).read_bytes() for path in outputs()}
    BAD["long prompt"][0]()  # the first task is collected, the second fails
    with pytest.raises(CollectionError):
        collect.main("sft-s0", "base-s0")
    assert {path: Path(path).read_bytes() for path in outputs()} == before


def test_resid_mid_of_a_parallel_model(project, tiny_folders):
    shutil.copytree(tiny_folders["gpt_neox"], "data/models/pythia")
    with pytest.raises(
        CaptureError, match="'resid_mid' does not exist in gpt_neox: attention and MLP run in parallel.*collect.sites"
    ):
        collect.main("pythia", "pythia")
    assert outputs() == []
    edit_params(sites=["resid_pre", "resid_post"])
    collect.main("pythia", "pythia")
    assert read_header(Path("data/activations/pythia/logic.h5")).paradigm == "other"


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_TOKENS", 20)


@pytest.fixture
def computed(monkeypatch):
    """The (task, shard) that were computed, in order."""
    seen, compute = [], shards.compute

    def spy(model, plan, shard, *rest):
        seen.append((plan.task, shard))
        return compute(model, plan, shard, *rest)

    monkeypatch.setattr(shards, "compute", spy)
    return seen


def test_a_second_run_computes_nothing_and_a_new_task_only_itself(project, small_shards, computed):
    collect.main("sft-s0", "base-s0")
    before, first = {path: Path(path).read_bytes() for path in outputs()}, list(computed)
    assert {task for task, _ in first} == {"arithmetic", "logic"} and len(first) == 4
    computed.clear()
    collect.main("sft-s0", "base-s0")
    assert computed == [] and {path: Path(path).read_bytes() for path in outputs()} == before
    rows = [json.loads(line) for line in Path("data/tasks/logic.jsonl").read_text().splitlines()]
    rows[0]["prompt"] += " w5"
    Path("data/tasks/logic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    collect.main("sft-s0", "base-s0")
    assert {task for task, _ in computed} == {"logic"}


def test_a_run_that_lost_a_shard_computes_that_one(project, small_shards, computed, caplog):
    collect.main("sft-s0", "base-s0")
    before = {path: Path(path).read_bytes() for path in outputs()}
    lost = collect.plan_work("sft-s0", "base-s0").plans[1].path(1)
    shutil.rmtree(lost)
    computed.clear()
    with caplog.at_level("INFO"):
        collect.main("sft-s0", "base-s0")
    assert computed == [("logic", 1)] and {path: Path(path).read_bytes() for path in outputs()} == before
    assert "shards are there already" in caplog.text


def test_killed_at_random_moments_it_ends_in_the_same_bytes(project):
    report = interrupt("sft-s0", "base-s0", kills=3, seed=0)
    assert report.killed == 3
    assert report.resumed > 0  # at least one run found shards of a killed one
    assert report.same_bytes


def test_local_processes_give_the_same_bytes(project, small_shards, monkeypatch):
    collect.main("sft-s0", "base-s0")
    alone = {path: Path(path).read_bytes() for path in outputs()}
    shutil.rmtree(shards.scratch_folder())
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLLECT_CLUSTER", "local")
    monkeypatch.setenv("COLLECT_JOBS", "2")
    collect.main("sft-s0", "base-s0")
    assert {path: Path(path).read_bytes() for path in outputs()} == alone
    assert len(list(Path(".dvc/tmp/submitit").glob("*/*_submitted.pkl"))) == 2


def test_a_failed_job_names_its_log_and_what_went_wrong(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLLECT_CLUSTER", "local")
    change_weight("sft-s0", "model.layers.1.mlp.up_proj.weight", lambda weight: weight * torch.nan)
    with pytest.raises(
        CollectionError, match="(?s)job .* failed, its log is .*submitit.*run the stage again.*not finite"
    ):
        collect.main("sft-s0", "base-s0")
    assert outputs() == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("COLLECT_CLUSTER", "slrum", "COLLECT_CLUSTER is 'slrum': set it to local or slurm"),
        ("COLLECT_JOBS", "two", "COLLECT_JOBS is 'two': expected a whole number"),
        ("COLLECT_JOBS", "0", "COLLECT_JOBS is '0': expected a whole number"),
        ("COLLECT_PARAMETERS", "{", "COLLECT_PARAMETERS is not JSON"),
        ("COLLECT_PARAMETERS", "[]", "COLLECT_PARAMETERS must be a JSON object"),
        ("COLLECT_PARAMETERS", '{"slurm_gpu": 1}', "COLLECT_PARAMETERS is not what submitit takes: .*slurm_gpu"),
        ("COLLECT_PARAMETERS", '{"timeout_min": 1.5}', "COLLECT_PARAMETERS is not what submitit takes"),
    ],
)
def test_bad_environment(name, value, message, project, monkeypatch):
    monkeypatch.setenv("COLLECT_CLUSTER", "local")
    monkeypatch.setenv(name, value)
    with pytest.raises(CollectionError, match=message):
        collect.main("sft-s0", "base-s0")
    assert outputs() == []


@pytest.mark.parametrize(
    ("device", "parameters", "kind"),
    [
        ("auto", {"gpus_per_node": 1}, "cuda"),
        ("auto", {"slurm_gres": "gpu:1"}, "cuda"),
        ("auto", {"slurm_partition": "short"}, "cpu"),
        ("cpu", {"gpus_per_node": 1}, "cpu"),
        ("cuda:0", {}, "cuda"),
    ],
)
def test_the_device_on_slurm_is_that_of_the_jobs_not_of_this_machine(device, parameters, kind, monkeypatch):
    monkeypatch.setenv("COLLECT_CLUSTER", "slurm")
    monkeypatch.setenv("DEVICE", device)
    monkeypatch.setenv("COLLECT_PARAMETERS", json.dumps(parameters))
    assert scheduler.device_kind() == kind


def test_shards_planned_for_another_device_are_not_computed(project):
    work = collect.plan_work("sft-s0", "base-s0")
    with pytest.raises(CollectionError, match="planned for cuda, the model is on cpu.*set DEVICE=cpu"):
        scheduler.compute_share(work._replace(device="cuda"), work.missing())
    assert len(work.missing()) == 2


def test_a_job_that_is_started_again_skips_what_it_has_done(project, computed, small_shards):
    work = collect.plan_work("sft-s0", "base-s0")
    share = work.missing()
    scheduler.compute_share(work, share[:2])
    scheduler.compute_share(work, share)
    assert computed == [("arithmetic", 0), ("arithmetic", 1), ("logic", 0), ("logic", 1)]


def test_the_bar_counts_every_token(project, monkeypatch):
    counted = []
    monkeypatch.setattr(scheduler.tqdm, "update", lambda bar, tokens: counted.append(tokens))
    collect.main("sft-s0", "base-s0")
    assert sum(counted) == 336 and len(counted) == 4  # batch by batch


@pytest.mark.parametrize("folder", ["data/activations", ".dvc/tmp/collect"])
def test_a_full_disk_is_named_and_the_next_run_ends_in_the_same_bytes(project, folder):
    """Of the activations, or of the shards, which are mapped: writing to a mapped file on a full disk kills the process."""
    collect.main("sft-s0", "base-s0")
    undisturbed = [Path(path).read_bytes() for path in outputs()]
    shutil.rmtree("data/activations")
    shutil.rmtree(".dvc/tmp/collect")
    with small_disk(project / folder, 2**16) as disk:
        (disk / "earlier").write_text("earlier")
        with pytest.raises(DiskFullError, match=f"no space left in {disk}.* bytes"):
            collect.main("sft-s0", "base-s0")
        assert (disk / "earlier").read_text() == "earlier"
        (disk / "earlier").unlink()
        resize(disk, 2**25)
        collect.main("sft-s0", "base-s0")
        assert [Path(path).read_bytes() for path in outputs()] == undisturbed

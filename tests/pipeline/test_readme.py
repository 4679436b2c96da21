"""README.md above "Run it" is what the template makes of the committed metrics and tables, and no number is typed in."""

import json
import re
import shutil

import pandas as pd
import pytest
from jinja2 import Environment

from tests.support import evidence, readme
from tests.support.project import ROOT

# Numbers of the template that no metric gives.
TYPED = {
    ".05": "the declared margin of equivalence, and the level of Holm's correction",
    "95": "% of the intervals, and the quantile of shuffled labels that the gate asks for",
    "0": "what nothing moved, and words of other kinds, should give",
    "1": "the largest index, the largest share of a cost, and what words of a kind should give",
    "256": "words of the is-a world",
}
# Thresholds of words: all but nothing lost, nearly all, all of it, and nats that are no change.
THRESHOLDS = {"0.98", "0.9", "0.999", "0.1", "0.05", "0.000001"}
KEYS = {"1", "3"}  # of stretches in trace.json
A_NUMBER = re.compile(r"(?<![\w.])\.?\d[\d.]*(?![\w_])")


def typed_numbers(template: str) -> set[str]:
    """Return the numbers in the text and the quoted words of a template, and those with a point in its expressions."""
    text, expressions = [], set()
    for _, kind, value in Environment().lex(template):
        if kind == "data" or (kind == "string" and value[1:-1] not in KEYS):
            text.append(value)
        elif kind == "float":
            expressions.add(value)
    prose = " ".join(text)
    return {number.rstrip(".") for number in A_NUMBER.findall(prose)} | expressions


@pytest.fixture
def results(tmp_path):
    """A copy of everything that the README reads."""
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    shutil.copytree(ROOT / "plots", tmp_path / "plots", ignore=shutil.ignore_patterns("*.png"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def test_readme_is_what_the_template_makes_of_the_metrics():
    above, _ = readme.written()
    assert above == readme.render(), "run `python -m tests.support.readme` and read what it changed"


def test_the_numbers_of_six_families_are_said_to_be_of_earlier_code_while_they_are():
    assert ("made by [earlier code]" in " ".join(readme.written()[0].split())) == ("families" in evidence.stale())


def test_the_command_leaves_the_rest_alone():
    above, rest = readme.written()
    assert rest.startswith("## Run it\n") and above + rest == (ROOT / "README.md").read_text(encoding="utf-8")


def test_no_number_of_the_template_is_typed_in():
    assert typed_numbers(readme.TEMPLATE.read_text(encoding="utf-8")) == {*TYPED, *THRESHOLDS}


@pytest.mark.parametrize(
    "template",
    [
        "keeps .990 of it",
        "an index of 0.99.",
        "+.181 [.174, .187]",
        "−.5",
        "up 3 %",
        '{{ claim(x, "of .832") }}',
        "{{ 0.164 }}",
    ],
)
def test_a_typed_number_is_seen(template):
    assert typed_numbers(template) - {*TYPED, *THRESHOLDS}


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("test", ("rl_zero_over_sft", "estimate")),
        ("test", ("think_over_sft", "high")),
        ("train/sft-s0", ("accuracy", "mean", "value")),
        ("train/rl_shuffled-s0", ("gain_over_base", "high")),
        ("measure/think-s0", ("effective_rank_centred_singular",)),
        ("perturb/sft-s0", ("isotropic", "mean")),
        ("trace", ("directions", "think", "ln_rankme", "high")),
        ("trace", ("memorization", "sft", "rho_arbitrary")),
        ("drift", ("models", "sft_matched", "late_share", "value")),
        ("concepts", ("isa_questions", "sft")),
        ("concepts", ("autoencoders", "probe", "purity")),
        ("families/test", ("rl_zero_over_sft", "high")),
        ("families/trace", ("directions", "sft", "ln_rankme", "low")),
        ("families/perturb/sft-s3", ("at_displacement_of_rl_zero-s3", "index")),
    ],
)
def test_a_changed_metric_changes_the_readme_or_is_refused(results, file, keys):
    change(results / f"metrics/{file}.json", keys, lambda value: 3 * value)
    assert outcome(results) != readme.written()[0]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("trace/course", "value"),
        ("trace/correlations", "rho"),
        ("trace/memorization", "value"),
        ("trace/phases", "to_step"),
        ("drift/curve", "value"),
        ("drift/distances", "w2"),
        ("drift/transitions", "z"),
        ("concepts/gate", "angle"),
        ("concepts/vectors", "success"),
        ("concepts/comparisons", "value"),
    ],
)
def test_a_changed_table_changes_the_readme_or_is_refused(results, table, column):
    path = results / f"plots/{table}.csv"
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
    frame[column] *= 3
    frame.to_csv(path, index=False)
    assert outcome(results) != readme.written()[0]


def change(path, keys, update):
    """Write the JSON file anew with one value updated."""
    metrics = json.loads(path.read_text(encoding="utf-8"))
    group = metrics
    for key in keys[:-1]:
        group = group[key]
    group[keys[-1]] = update(group[keys[-1]])
    path.write_text(json.dumps(metrics), encoding="utf-8")


def outcome(results) -> str:
    """Return the rendered text, or the message that refuses it."""
    try:
        return readme.render(results)
    except readme.ReadmeError as error:
        return str(error)


@pytest.mark.parametrize(
    ("file", "keys", "value", "words"),
    [
        ("test", ("rl_zero_over_sft_onpolicy", "verdict"), "undecided", "each equivalent"),
        ("families/test", ("rl_zero_over_sft_at_matched_kl", "verdict"), "undecided", "the difference is one of size"),
        ("perturb/rl_zero-s0", ("isotropic", "p_keeps_less"), 0.5, "neither model is gentle for its size"),
        ("train/sft_kl-s0", ("gain_over_base", "value"), 0.05, "with nearly all of its gain"),
        ("concepts", ("targets", "leakage", "met"), False, "all three targets of the original study are met"),
    ],
)
def test_words_that_the_numbers_do_not_bear_out_are_refused_by_name(results, file, keys, value, words):
    change(results / f"metrics/{file}.json", keys, lambda _: value)
    with pytest.raises(readme.ReadmeError, match=f"'{words}'") as refusal:
        readme.render(results)
    assert "\n" not in str(refusal.value)


def test_a_number_that_is_missing_is_named(results):
    (results / "metrics/drift.json").write_text("{}", encoding="utf-8")
    with pytest.raises(readme.ReadmeError, match="has no attribute 'models'"):
        readme.render(results)
    (results / "plots/drift/curve.csv").write_text("line,series,value\n", encoding="utf-8")
    with pytest.raises(readme.ReadmeError, match="drift/curve.csv has no row|has no attribute"):
        readme.render(results)


@pytest.mark.parametrize(
    ("record", "digits", "text"),
    [
        ({"estimate": 0.1643, "low": 0.156, "high": 0.1725}, 3, ".164 [.156, .172]"),
        ({"value": -0.0004, "low": -0.0011, "high": 0.0007}, 3, "−.000 [−.001, +.001]"),
        ({"value": -2.0, "low": -3.5, "high": -0.5}, 1, "−2.0 [−3.5, −.5]"),
        ({"change": 10.04, "low": 9.0, "high": 11.0}, 1, "10.0 [9.0, 11.0]"),
    ],
)
def test_an_estimate_stands_with_its_interval(record, digits, text):
    assert readme.estimate(record, digits) == text
    assert readme.estimate(record, digits, sign=True) == (text if text[0] == "−" else f"+{text}")

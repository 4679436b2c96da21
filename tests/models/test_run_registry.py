"""The registry of training runs: what the committed one says, what is refused, and which checkpoints are taken."""

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.models.registry import Model
from stages.models.run_registry import RegisteredCheckpoint, RegisteredRun, load_run, log_spaced
from stages.shared.params import ParamsError
from stages.shared.registry import read_entries
from tests.support.project import ROOT

REGISTRY = ROOT / "data/registry/runs.yaml"
ENTRIES = read_entries(REGISTRY)
BILLION = 1_000_000_000


@pytest.fixture(scope="module")
def runs():
    """All runs, from one reading of the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.shared.registry.read_entries", lambda path: ENTRIES)
        return {slug: load_run(slug, REGISTRY) for slug in ENTRIES}


def revisions(run):
    return [checkpoint.revision for checkpoint in run.checkpoints]


# ---------------------------------------------------------------- the committed registry


def test_entries_are_complete(runs):
    for slug, run in runs.items():
        assert run.hub.count("/") == 1, slug
        assert run.licence and run.tokenizer, slug
        assert (run.parent is None) == (
            slug.startswith("pythia") or slug in ("olmo2-1b-stage1", "olmo2-1b-base", "olmo3-7b-stage1")
        )
        assert not {checkpoint.hub for checkpoint in run.checkpoints} - {None, "allenai/OLMo-2-0425-1B-early-training"}


def test_a_run_that_ends_in_a_model_has_its_slug_repository_and_paradigm(runs):
    models = read_entries(ROOT / "data/registry/models.yaml")
    shared = [slug for slug in runs if slug in models]
    assert len(shared) == 36  # all but the stages of the two pretrainings and OLMo 3.1
    for slug in shared:
        assert (runs[slug].hub, runs[slug].paradigm) == (models[slug]["hub"], models[slug]["paradigm"])


def test_paradigms_are_those_of_the_models():
    assert get_args(RegisteredRun.model_fields["paradigm"].annotation) == get_args(
        Model.model_fields["paradigm"].annotation
    )


def test_no_checkpoint_is_listed_under_two_runs(runs):
    places = [(one.hub or run.hub, one.revision) for run in runs.values() for one in run.checkpoints]
    assert len(set(places)) == len(places)


def test_all_sizes_of_pythia_share_their_154_checkpoints(runs):
    pythia = [run for slug, run in runs.items() if slug.startswith("pythia")]
    assert len(pythia) == 20
    assert all(run.checkpoints == pythia[0].checkpoints for run in pythia)
    steps = [0, *(2**power for power in range(10)), *range(1000, 143_001, 1000)]
    assert [(one.revision, one.step, one.tokens) for one in pythia[0].checkpoints] == [
        (f"step{step}", step, 2_097_152 * step) for step in steps
    ]
    assert len(steps) == 154
    assert pythia[0].checkpoints[-1].tokens == 299_892_736_000  # as its authors state


def test_names_of_olmo_2_state_their_own_steps_and_tokens(runs):
    slugs = ["olmo2-1b-stage1", *(f"olmo2-1b-stage2-ingredient{number}" for number in (1, 2, 3))]
    for one in (one for slug in slugs for one in runs[slug].checkpoints):
        *_, step, tokens = one.revision.split("-")
        assert (step, tokens) == (f"step{one.step}", f"tokens{math.ceil(one.tokens / BILLION)}B")
    assert len(runs["olmo2-1b-stage1"].checkpoints) == 195 + 33  # the base's own file has 195
    assert sum(one.hub is not None for one in runs["olmo2-1b-stage1"].checkpoints) == 33


@pytest.mark.parametrize(
    ("slug", "count", "first", "last", "tokens"),
    [
        ("olmo2-1b-stage1", 228, "stage1-step0-tokens0B", "stage1-step1907359-tokens4001B", 4000e9),
        ("olmo2-1b-stage2-ingredient3", 24, "stage2-ingredient3-step1000-tokens3B", "stage2-ingredient3-step23852-tokens51B", 50e9),
        ("olmo3-7b-stage1", 1415, "stage1-step0", "stage1-step1413814", 5.93e12),
        ("olmo3-7b-stage2", 48, "stage2-step1000", "stage2-step47684", 100e9),
        ("olmo3-7b-stage3", 12, "stage3-step1000", "stage3-step11921", 50e9),
        ("olmo3-7b-sft", 43, "step1000", "step43000", None),
        ("olmo3-7b-think", 55, "step_0025", "step_1375", None),
        ("olmo3-7b-instruct", 9, "step_050", "main", None),
        ("olmo3-7b-rl-zero-math", 20, "step_100", "main", None),
        ("olmo3-7b-rl-zero-code", 29, "step_100", "step_2900", None),
        ("olmo3-1-7b-rl-zero-math", 28, "step_0100", "step_2800", None),
        ("olmo2-1b-rlvr1", 14, "step_200", "main", None),
    ],
)  # fmt: skip
def test_lists_are_as_long_and_end_as_their_sources_say(runs, slug, count, first, last, tokens):
    names = revisions(runs[slug])
    assert (len(names), names[0], names[-1]) == (count, first, last)
    if tokens is not None:
        assert runs[slug].checkpoints[-1].tokens == pytest.approx(tokens, rel=1e-3)


def test_lines_of_descent(runs):
    def line(slug):
        return [slug, *line(runs[slug].parent)] if runs[slug].parent else [slug]

    pretraining = ["olmo3-7b-stage3", "olmo3-7b-stage2", "olmo3-7b-stage1"]
    assert line("olmo3-7b-think") == ["olmo3-7b-think", "olmo3-7b-think-dpo", "olmo3-7b-sft", *pretraining]
    assert line("olmo3-7b-rl-zero-mix") == ["olmo3-7b-rl-zero-mix", *pretraining]
    assert line("olmo2-1b-instruct")[1:] == ["olmo2-1b-rlvr1", "olmo2-1b-dpo", "olmo2-1b-sft", "olmo2-1b-base"]


def test_the_registry_is_read_as_committed():
    assert load_run("olmo3-7b-stage3", REGISTRY).parent == "olmo3-7b-stage2"


# ---------------------------------------------------------------- what is refused

GOOD = """
root:
  path: data/models/base-s0/checkpoints
  paradigm: base
  checkpoints:
    - {revision: step-0, step: 0}
    - {revision: step-9, step: 9}
child:
  hub: some/one
  paradigm: sft
  parent: root
  tokenizer: {hub: some/one, revision: main}
  checkpoints:
    - {revision: main, step: 1, hub: some/other}
"""


def written(folder, text):
    path = folder / "runs.yaml"
    path.write_text(text)
    return path


def test_a_run_under_a_path_and_its_child_are_read(tmp_path):
    path = written(tmp_path, GOOD)
    assert load_run("root", path).checkpoints == [
        RegisteredCheckpoint(revision="step-0", step=0),
        RegisteredCheckpoint(revision="step-9", step=9),
    ]
    child = load_run("child", path)
    assert (child.checkpoints[0].hub, child.parent, child.corpus) == ("some/other", "root", None)


@pytest.mark.parametrize(
    ("slug", "old", "new", "message"),
    [
        ("rot", "", "", "no run 'rot': did you mean 'root'\\? registered: root, child"),
        ("a.b", "", "", "a.b: a name has letters, digits, - and _ only"),
        ("root", "    - {revision: step-0, step: 0}\n    - {revision: step-9, step: 9}", "    []", "root.checkpoints: none: list at least one"),
        ("root", "step: 9", "step: 0", "root.checkpoints.1: 'step-9' has step 0, as 'step-0' has: leave one out"),
        ("root", "step: 0", "step: 12", "root.checkpoints.1: 'step-9' \\(step 9\\) stands after 'step-0' \\(step 12\\): list them by"),
        ("root", "step-9", "step-0", "root.checkpoints.1: revision 'step-0' stands twice"),
        ("root", "step: 9", "stpe: 9", "unknown key root.checkpoints.1.stpe: did you mean 'step'"),
        ("root", "step: 9", "step: -9", "root.checkpoints.1.step: .*greater than or equal to 0 \\(found -9\\)"),
        ("root", "revision: step-9", "revision: 9", "root.checkpoints.1.revision: .*string \\(found 9\\)"),
        ("root", "  path: data/models/base-s0/checkpoints\n", "", "root: expected either hub .* or path .*found both or neither"),
        ("child", "hub: some/one\n  paradigm", "hub: some/one\n  path: here\n  paradigm", "child: expected either hub .*both or neither"),
        ("child", "  hub: some/one\n", "  path: here\n", "child.checkpoints: 'main' names a hub, but the run lies under path"),
        ("child", "paradigm: sft", "paradigm: stf", "child.paradigm: .*'sft'.* \\(found 'stf'\\)"),
        ("child", "parent: root", "parent: roto", "child.parent: no run 'roto': did you mean 'root'\\? name a run of this file"),
        ("child", "parent: root", "parent: child", "child.parent: child starts from child, a circle"),
        ("child", "  paradigm: base\n", "  paradigm: base\n  parent: child\n", "root.parent: child starts from root starts from child, a circle"),
        ("child", "step: 9", "step: 0", "root.checkpoints.1: 'step-9' has step 0"),
        ("child", "  paradigm: base\n", "", "root.paradigm: Field required"),
        ("child", "{hub: some/one, revision: main}", "{hub: some/one}", "child.tokenizer.revision: Field required"),
    ],
)  # fmt: skip
def test_errors_name_the_run_the_entry_and_the_fix(tmp_path, slug, old, new, message):
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1) if old else GOOD)
    with pytest.raises(ParamsError, match=f"{path}: {message}"):
        load_run(slug, path)


def test_an_error_does_not_repeat_a_long_list(tmp_path):
    many = "".join(f"    - {{revision: step-{step}, step: {step}}}\n" for step in [*range(500), 3])
    path = written(tmp_path, f"long:\n  hub: some/one\n  paradigm: base\n  checkpoints:\n{many}")
    with pytest.raises(ParamsError, match="long.checkpoints.500: 'step-3'") as caught:
        load_run("long", path)
    assert len(str(caught.value)) < 300


# ---------------------------------------------------------------- which checkpoints are taken


def at(*steps):
    return [RegisteredCheckpoint(revision=f"step-{step}", step=step) for step in steps]


def steps_of(checkpoints):
    return [checkpoint.step for checkpoint in checkpoints]


STEPS = st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60, unique=True).map(sorted)


@given(STEPS, st.integers(2, 70))
def test_as_many_as_asked_in_order_with_both_ends(steps, size):
    checkpoints = at(*steps)
    taken = log_spaced(checkpoints, size)
    assert len(taken) == min(size, len(steps))
    assert taken[0] == checkpoints[0] and taken[-1] == checkpoints[-1]
    assert all(one.step < following.step for one, following in zip(taken, taken[1:], strict=False))
    assert set(steps_of(taken)) <= set(steps)


@given(st.integers(2, 10), st.integers(1, 5))
def test_checkpoints_on_the_targets_are_all_taken(size, spread):
    """2^k - 1 is evenly spaced in ln(step + 1); the steps between are there to mislead."""
    on_target = [2**power - 1 for power in range(0, size * spread, spread)][:size]
    between = {3 * step // 2 for step in on_target[1:-1]} | {on_target[-1] - 1, 1}
    everything = sorted({*on_target, *(step for step in between if step < on_target[-1])})
    assert steps_of(log_spaced(at(*everything), size)) == on_target


def test_where_every_step_is_saved_the_gaps_are_even():
    taken = steps_of(log_spaced(at(*range(20_000)), 21))[4:]  # from where steps lie closer than targets
    ratios = [(following + 1) / (one + 1) for one, following in zip(taken, taken[1:], strict=False)]
    assert ratios == pytest.approx([20_000 ** (1 / 20)] * len(ratios), rel=0.1)


def test_targets_below_the_first_saved_step_take_the_next_free_ones():
    """Half of the targets lie between 0 and 1000, where nothing is saved: they must not push the others up."""
    taken = steps_of(log_spaced(at(*range(0, 1_001_000, 1000)), 15))
    assert len(taken) == 15
    assert taken[-5:] == [19_000, 52_000, 139_000, 373_000, 1_000_000]  # 1,000,001^(k / 14), k = 10 to 14


def test_pythia_in_ten(runs):
    """Targets for step + 1: 143,001^(k / 9) = 1, 3.7, 14, 52, 195, 729, 2724, 10178, 38035, 143,001."""
    taken = steps_of(log_spaced(runs["pythia-14m"].checkpoints, 10))
    assert taken == [0, 2, 16, 64, 256, 1000, 3000, 10_000, 38_000, 143_000]


@pytest.mark.parametrize("size", [1, 0, -3])
def test_fewer_than_two_are_an_error(size):
    with pytest.raises(ParamsError, match=f"{size} checkpoints asked for: expected at least 2"):
        log_spaced(at(0, 1, 2), size)


def test_a_single_checkpoint_is_returned():
    assert steps_of(log_spaced(at(7), 5)) == [7]

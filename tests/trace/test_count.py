"""The stage from end to end on tiny corpora: what is stated is counted, and nothing else is."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stages.organisms.corpus import pretraining_documents, tokenizer_texts, world_words
from stages.organisms.params import Mix
from stages.organisms.tokenizer import build_tokenizer
from stages.shared.params import ParamsError
from stages.tasks import facts, ontology
from stages.tasks.item import TaskError
from stages.trace import count as ngrams
from stages.trace.answers import CorpusError
from tests.support.project import ROOT

pytest.importorskip("infini_gram", reason="infini-gram has wheels for Linux x86-64 alone")

RAW = yaml.safe_load((ROOT / "params.yaml").read_text())
ONTOLOGY = {**RAW["tasks"]["ontology"], "children_per_parent": 8}
FACTS = {**RAW["tasks"]["facts"], "first_names": 4, "last_names": 4, "animals": 8, "guilds": 2, "most_exposures": 20}
COLUMNS = [
    "id", "task", "kind", "split", "exposures", "tokens", "count", "probability", "matched", "matched_count", "zero_tokens",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    world = ontology.build_world(ontology.Params(**ONTOLOGY))
    people = facts.build_people(facts.Params(**FACTS))
    return build_tokenizer(tokenizer_texts(Mix(**RAW["organisms"]["base"]["mix"])), world_words(world, people), 250)


@pytest.fixture
def project(tmp_path, monkeypatch, tokenizer):
    """A base's tokenizer, the rows of two tasks, and params of a corpus of 1200 documents."""
    monkeypatch.chdir(tmp_path)
    tokenizer.save_pretrained("data/models/base-s0")
    Path("data/tasks").mkdir()
    write_rows("facts", facts.rows(facts.Params(**FACTS)))
    write_rows("sums", [{"id": "sums-0", "prompt": "Q: 1 + 2 = ?\n", "answer": "A: 3", "split": "held_out"}])
    edit_params()
    return tmp_path


def write_rows(task, rows):
    Path(f"data/tasks/{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_params(base=None, **changes):
    params = {
        "organisms": {
            "base": {**RAW["organisms"]["base"], "documents": 1200, **(base or {})},
            "budget": {"effort": 1.0},
        },
        "tasks": {"facts": FACTS, "ontology": ONTOLOGY},
        "ngrams": {**RAW["ngrams"], **changes},
    }
    Path("params.yaml").write_text(yaml.safe_dump(params))


def run(name="base-s0"):
    ngrams.main(name)
    return pd.read_parquet(f"data/trace/ngrams/{name}.parquet")


def test_every_fact_stands_as_often_as_declared(project, caplog):
    caplog.set_level("INFO")
    table = run()
    assert list(table.columns) == COLUMNS
    arbitrary = table[table["kind"] == "arbitrary"]
    assert (arbitrary["count"] == arbitrary["exposures"]).all() and arbitrary["exposures"].max() == 20
    assert "16 of 16 arbitrary facts stand as often as declared" in caplog.text
    assert not any(Path(".dvc/tmp/ngrams").iterdir())


def test_a_guild_is_counted_where_it_is_stated_and_supported_where_it_is_not(project):
    """The last name decides the guild: where a person's own is never stated, a shorter context still gives it."""
    guilds = run().query("kind == 'inferable'")
    stated = guilds["split"] == "train"
    assert (guilds[stated]["count"] == RAW["organisms"]["base"]["mix"]["guild_repeats"]).all()
    assert (guilds[~stated]["count"] == 0).all() and (~stated).any()
    assert (guilds["probability"] > 0.99).mean() > 0.8
    assert guilds[~stated]["matched"].max() < guilds[stated]["matched"].min()


def test_an_animal_that_is_never_stated_has_only_a_shorter_context(project):
    animals = run().query("kind == 'arbitrary'")
    seen, unseen = animals[animals["exposures"] > 0], animals[animals["exposures"] == 0]
    assert len(unseen) == 2 and (unseen["probability"] < 1).all()
    assert unseen["matched"].max() < seen["matched"].min()
    assert (seen["probability"] == 1).all() and (seen["matched_count"] == seen["exposures"]).all()


def test_the_corpus_is_that_of_pretraining(project, monkeypatch, tokenizer):
    taken = []
    real = ngrams.look_up
    monkeypatch.setattr(ngrams, "look_up", lambda ids, *rest: real(taken.extend(ids) or taken, *rest))
    run()
    world, people = ontology.build_world(ontology.Params(**ONTOLOGY)), facts.build_people(facts.Params(**FACTS))
    texts = pretraining_documents(world, people, Mix(**RAW["organisms"]["base"]["mix"]), 1200, 0)
    assert taken == [ids + [tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]


def test_another_family_has_another_corpus_with_the_same_facts(project, tokenizer):
    tokenizer.save_pretrained("data/models/base-s1")
    edit_params(answers=["facts", "sums"])
    first, second = run(), run("base-s1")
    facts_only = first["task"] == "facts"
    assert first[facts_only]["count"].equals(second[facts_only]["count"])
    assert not first[~facts_only]["matched_count"].equals(second[~facts_only]["matched_count"])


def test_tasks_without_kind_and_exposures_leave_them_empty(project):
    edit_params(answers=["sums", "facts"])
    table = run()
    assert table.loc[0, "task"] == "sums" and table.loc[0, ["kind", "exposures"]].isna().all()
    assert table.loc[1:, ["kind", "exposures"]].notna().all(axis=None)


def test_twice_the_same_bytes(project):
    outputs = []
    for _ in range(2):
        run()
        outputs.append(Path("data/trace/ngrams/base-s0.parquet").read_bytes())
    assert outputs[0] == outputs[1]


def test_a_local_corpus(project):
    person = facts.build_people(facts.Params(**FACTS))[0]
    line = f"{facts.animal_prompt(person)} {person.animal} ."
    Path("corpus.txt").write_text(f"{line}\n\n{line}\n{facts.animal_prompt(person)}\n")
    edit_params(corpora={"mine": {"file": "corpus.txt", "tokenizer": "data/models/base-s0"}})
    table = run("mine").set_index("id")
    known = table.loc[facts.rows(facts.Params(**FACTS))[0]["id"]]
    assert known["count"] == 2 and known["probability"] == pytest.approx(2 / 3) and known["matched_count"] == 3
    assert table["count"].sum() == 2


def test_an_index_of_the_api_is_asked_with_its_settings(project, monkeypatch):
    asked = []

    def support(*arguments):
        asked.append(arguments)
        return pd.DataFrame([{"id": row["id"], "count": 1} for row in arguments[2]])

    monkeypatch.setattr(ngrams.api, "support", support)
    edit_params(corpora={"pile": {"index": "v4_piletrain_llama"}})
    assert len(run("pile")) == 32
    ((settings, name, rows, folder),) = asked
    assert (settings.tries, name, str(folder)) == (5, "v4_piletrain_llama", ".dvc/tmp/ngrams")
    assert rows[0]["task"] == "facts"


def test_a_corpus_that_is_not_the_declared_one_is_refused(project):
    """The null of the check: another Zipf law in the params than in the task file."""
    rows = facts.rows(facts.Params(**FACTS))
    rows[0]["exposures"] += 1
    write_rows("facts", rows)
    with pytest.raises(CorpusError, match=f"{rows[0]['id']} stands 20 times in the corpus, its row declares 21"):
        run()
    assert not Path("data/trace/ngrams").exists()


@pytest.mark.parametrize(("name", "changes", "error", "message"), [
    ("base-s1", {}, CorpusError, "no tokenizer 'data/models/base-s1'"),
    ("sft-s0", {}, ParamsError, "no corpus 'sft-s0' in ngrams.corpora"),
    ("base-s0", {"answers": ["fatcs"]}, TaskError, "fatcs.jsonl not found"),
    ("base-s0", {"base": {"documents": 1}}, ParamsError, "organisms.base.documents"),
])  # fmt: skip
def test_what_cannot_run_says_why_and_writes_nothing(project, name, changes, error, message):
    edit_params(**changes)
    with pytest.raises(error, match=message):
        run(name)
    assert not Path("data/trace/ngrams").exists()

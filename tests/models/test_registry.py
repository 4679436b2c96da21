"""The committed registry: every entry is valid, and says nothing impossible."""

from collections import Counter
from typing import get_args

import pytest

from stages.models.loading import PRECISIONS
from stages.models.registry import Precision, load_entry
from stages.shared.registry import read_entries
from tests.support.project import ROOT

REGISTRY = ROOT / "data/registry/models.yaml"
SLUGS = list(read_entries(REGISTRY))
ENTRIES = {slug: load_entry(slug, REGISTRY) for slug in SLUGS}


@pytest.mark.parametrize("slug", SLUGS)
def test_entry_is_complete(slug):
    entry = ENTRIES[slug]
    assert entry.hub.count("/") == 1
    assert entry.licence
    assert ENTRIES[entry.reference].paradigm == "base"
    assert (entry.paradigm == "base") == (entry.reference == slug)


def test_no_two_entries_are_the_same_model_under_the_same_condition():
    identities = [(e.hub, e.revision, e.precision, e.prompt_format) for e in ENTRIES.values()]
    assert Counter(identities).most_common(1)[0][1] == 1


def test_the_licence_of_the_gated_models_must_be_accepted():
    assert [slug for slug, entry in ENTRIES.items() if entry.gated] == ["llama3-1-8b"]


def test_every_precision_can_be_loaded():
    assert get_args(Precision) == PRECISIONS

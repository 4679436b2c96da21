"""The capture map against real models of every family."""

import pytest
from transformers import AutoConfig, BloomConfig

from stages.models.sites import SITES, CaptureError, family_of, require_sites, sites_of
from tests.support.tiny_models import CONFIGS


def test_every_row_has_a_tiny_model():
    assert set(CONFIGS) == set(SITES), "add a tiny configuration of the new row to tests/tiny_models.py"


@pytest.mark.parametrize("family", SITES)
def test_a_saved_checkpoint_finds_its_row(family, tiny_folders):
    assert family_of(AutoConfig.from_pretrained(tiny_folders[family])) == family


def test_an_unknown_architecture_lists_the_known_ones_and_says_how_to_add_it():
    with pytest.raises(
        CaptureError, match="model_type 'bloom'; known: llama, .*gpt_neox.*write one row in stages/models/sites.py"
    ):
        family_of(BloomConfig())


def test_resid_mid_does_not_exist_in_a_parallel_block():
    assert sites_of("gpt_neox") == ("resid_pre", "resid_post")
    with pytest.raises(
        CaptureError,
        match="'resid_mid' does not exist in gpt_neox: attention and MLP run in parallel.*resid_pre, resid_post",
    ):
        require_sites("gpt_neox", ["resid_post", "resid_mid"])


def test_a_misspelt_site():
    with pytest.raises(
        CaptureError,
        match="'resid_pots' does not exist in olmo3: did you mean 'resid_post'.*resid_pre, resid_mid, resid_post",
    ):
        require_sites("olmo3", ["resid_pots"])

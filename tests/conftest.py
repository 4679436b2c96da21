"""Thread count and instruction set are fixed before any test imports numpy or torch."""

import stages

stages.pin()

import os  # noqa: E402

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# Tests run side by side: those about several processes ask for them, and none may fail because others are at work.
os.environ.setdefault("JOBS", "1")
settings.register_profile("side by side", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("side by side")


@pytest.fixture(scope="session")
def tiny_models():
    """family -> random model, for every row of the capture map."""
    from tests.support.tiny_models import CONFIGS, tiny_model  # imports transformers: only for the tests that need it

    return {family: tiny_model(family) for family in CONFIGS}


@pytest.fixture(scope="session")
def tiny_folders(tiny_models, tmp_path_factory):
    """family -> checkpoint folder with weights and tokenizer."""
    from tests.support.tiny_models import tiny_tokenizer

    folders = {family: tmp_path_factory.mktemp("checkpoints") / family for family in tiny_models}
    for family, folder in folders.items():
        tiny_models[family].save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    return folders

"""GGUF files as llama.cpp writes them: the same weights, tokenizer included; or a clear refusal."""

import pytest
import torch

from stages.models import loading
from stages.models.capture import self_test
from stages.models.checkpoint import Checkpoint, ModelError, weight_files, weight_hash
from stages.models.loading import load_config, load_model, load_tokenizer
from stages.paradigms.smoke import stored_types
from tests.support.tiny_models import save_llama_gguf

CPU = torch.device("cpu")


@pytest.fixture
def gguf(tmp_path):
    """Checkpoint and original model; keyword arguments go to the writer."""

    def save(**options):
        model = save_llama_gguf(tmp_path / "tiny.gguf", **options)
        return Checkpoint("tiny", tmp_path, "base", "local", "", "llama", gguf="tiny.gguf"), model

    return save


def test_the_weights_are_the_original_ones(gguf):
    checkpoint, original = gguf()
    model = load_model(checkpoint, "float32", target=CPU)
    assert load_config(checkpoint).model_type == model.config.model_type == "llama"
    for name, value in original.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    ids = torch.tensor([[3, 7, 9, 11, 4]])
    torch.testing.assert_close(model(ids).logits, original(ids).logits, rtol=1e-5, atol=1e-6)
    self_test(model)
    assert load_model(checkpoint, "bfloat16", target=CPU).dtype == torch.bfloat16
    assert stored_types(checkpoint) == ["F32"]


def test_the_tokenizer_comes_from_the_file(gguf):
    checkpoint, _ = gguf()
    tokenizer = load_tokenizer(checkpoint)
    ids = tokenizer("the hat")["input_ids"]
    assert len(ids) == 6  # one merge: th
    assert tokenizer.decode(ids) == "the hat"
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<bos>", "<eos>")


def test_a_file_of_that_name_in_the_working_directory_is_not_taken(gguf, tmp_path, monkeypatch):
    checkpoint, original = gguf()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/tiny.gguf").write_bytes(b"another file")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_model(checkpoint, "float32", target=CPU).num_parameters() == original.num_parameters()


def test_the_hash_is_over_the_file(gguf):
    checkpoint, _ = gguf()
    before = weight_hash(checkpoint.folder, checkpoint.gguf)
    assert weight_files(checkpoint.folder, checkpoint.gguf) == [checkpoint.folder / "tiny.gguf"]
    with (checkpoint.folder / "tiny.gguf").open("ab") as file:
        file.write(b"more")
    assert weight_hash(checkpoint.folder, checkpoint.gguf) != before


@pytest.mark.parametrize("kept", [0, 10, 100, 3000, -4000, -1])
def test_a_truncated_file(kept, gguf):
    checkpoint, _ = gguf()
    whole = (checkpoint.folder / "tiny.gguf").read_bytes()
    (checkpoint.folder / "tiny.gguf").write_bytes(whole[:kept])
    with pytest.raises(ModelError, match="tiny.gguf cannot be (read|loaded)"):
        load_model(checkpoint, "float32", target=CPU)
    with pytest.raises(ModelError, match="tiny.gguf cannot be read, copy or convert it again"):
        load_tokenizer(checkpoint)


def test_tensors_that_transformers_would_drop_are_refused(gguf):
    checkpoint, _ = gguf(extra={"rope_freqs.weight": torch.ones(2)})
    with pytest.raises(ModelError, match="1 weights are in excess.*rope_freqs.weight.*take its safetensors"):
        load_model(checkpoint, "float32", target=CPU)


def test_a_folder_with_only_a_gguf_file_says_to_name_the_file(gguf):
    checkpoint, _ = gguf()
    with pytest.raises(ModelError, match=r"found tiny.gguf: give the file itself as path"):
        weight_files(checkpoint.folder)


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_it_is_not_quantised_again(precision, gguf):
    with pytest.raises(
        ModelError,
        match=r"^\S*tiny.gguf: a GGUF file is dequantised, not quantised again: set precision to float32 or bfloat16",
    ):
        load_model(gguf()[0], precision, target=CPU)


def test_without_the_package_the_error_has_the_install_line(gguf, monkeypatch):
    checkpoint, _ = gguf()
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="^this model needs the package gguf.*pip install -r requirements.txt"):
        load_model(checkpoint, "float32", target=CPU)


@pytest.mark.parametrize("place", [0, 4, 8, 16, 24, 32, 40, 100, 300, 660, 700, 1000, 1500, 2000])
def test_a_flipped_byte_is_refused_by_name_or_read(place, gguf):
    checkpoint, _ = gguf()
    path = checkpoint.folder / "tiny.gguf"
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    try:
        load_model(checkpoint, "float32")
    except ModelError as error:
        assert "tiny.gguf" in str(error)  # noqa: PT017

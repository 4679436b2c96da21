"""The activation file: round trip, same bytes twice, and every way a file can be bad."""

import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

from stages.activations import store
from stages.activations.store import ActivationError, ActivationHeader, Block
from stages.shared.digests import append_digest
from tests.support.damage import edited_hdf5, flip

N, D, LAYERS = 5, 6, 2
OFFSETS = np.array([0, 3, 4, 8, 10, 12])

HEADER = ActivationHeader(
    model="sft-s0",
    task="logic",
    resolved_revision="local",
    weight_hash="aa",
    paradigm="sft",
    architecture="olmo3",
    n_layers=LAYERS,
    d_model=D,
    aggregations=("last_token", "all_tokens"),
    sites=("resid_mid", "resid_post"),
    mask="without position 0",
    precision="float32",
    prompt_format="plain",
    prompt_ids=("a", "b", "c", "d", "é"),
    token_hash="bb",
    tokens_per_batch=64,
    library_versions={"torch": "2"},
    all_tokens_dtype="float32",
)


def blocks(header=HEADER, **changed):
    """Random values for every dataset; ``changed`` maps "aggregation/hook" to a replacement."""
    rng = np.random.default_rng(0)
    rows = {"last_token": N, "all_tokens": OFFSETS[-1]}
    for aggregation in header.aggregations:
        for site in header.sites:
            for layer in range(header.n_layers):
                values = rng.normal(size=(rows[aggregation], D)).astype(np.float32)
                name = f"{aggregation}/{store.hook_name(site, layer)}"
                yield Block(aggregation, site, layer, changed.get(name, values))


def write(path, header=HEADER, **changed):
    path.parent.mkdir(exist_ok=True)
    store.write(path, header, blocks(header, **changed), OFFSETS, np.ones(12, bool))
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "sft-s0" / "logic.h5")


def test_round_trip(path):
    assert store.read_header(path) == HEADER
    for block in blocks():
        np.testing.assert_array_equal(store.read_site(path, block.aggregation, block.site, block.layer), block.values)
    offsets, mask = store.read_offsets(path)
    np.testing.assert_array_equal(offsets, OFFSETS)
    assert mask.shape == (12,) and mask.dtype == bool


def test_writing_twice_gives_the_same_bytes(path):
    before = path.read_bytes()
    time.sleep(1.1)  # HDF5 times have a resolution of one second
    assert write(path).read_bytes() == before


def test_many_prompts_fit_the_header(tmp_path):
    ids = tuple(f"logic-{i:020d}" for i in range(5000))  # past the 64 KiB of an attribute
    header = replace(HEADER, prompt_ids=ids, aggregations=("last_token",), sites=("resid_post",), n_layers=1)
    path = tmp_path / "sft-s0" / "logic.h5"
    store.write(path, header, [Block("last_token", "resid_post", 0, np.zeros((5000, D), np.float32))])
    assert store.read_header(path).prompt_ids == ids


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"last_token/blocks.1.hook_resid_mid": np.full((N, D), np.nan, np.float32)},
            r"last_token/blocks.1.hook_resid_mid is not finite.*prompt a",
        ),
        (
            {
                "all_tokens/blocks.0.hook_resid_post": np.where(
                    np.arange(12)[:, None] == 8, np.inf, np.zeros((12, D))
                ).astype(np.float32)
            },
            "first at prompt d",
        ),
        ({"last_token/blocks.0.hook_resid_mid": np.zeros((N, D), np.float16)}, "float16, expected float32"),
        (
            {"last_token/blocks.0.hook_resid_mid": np.zeros((N, D + 1), np.float32)},
            r"shape \(5, 7\), expected \(5, 6\)",
        ),
    ],
)
def test_bad_values_are_refused_and_nothing_is_left(tmp_path, changed, message):
    with pytest.raises(ActivationError, match=message):
        write(tmp_path / "sft-s0" / "logic.h5", **changed)
    assert list((tmp_path / "sft-s0").iterdir()) == []


def test_a_missing_dataset_is_refused_on_writing(tmp_path):
    with pytest.raises(ActivationError, match="1 of 8 datasets are missing.*last_token/blocks.0.hook_resid_mid"):
        store.write(tmp_path / "a.h5", HEADER, list(blocks())[1:], OFFSETS, np.ones(12, bool))
    assert list(tmp_path.iterdir()) == []


def test_all_tokens_needs_offsets(tmp_path):
    with pytest.raises(ActivationError, match="offsets and mask are expected"):
        store.write(tmp_path / "a.h5", HEADER, blocks())


def test_non_finite_values_are_refused_on_reading(path):
    with edited_hdf5(path) as file:
        file["last_token/blocks.0.hook_resid_mid"][2, 3] = np.nan
    with pytest.raises(ActivationError, match="blocks.0.hook_resid_mid is not finite, first at prompt c"):
        store.read_site(path, "last_token", "resid_mid", 0)


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(ActivationError, match="logic.h5 not found.*dvc repro collect@sft-0.*dvc pull"):
        store.read_header(tmp_path / "sft-s0" / "logic.h5")


@pytest.mark.parametrize("kept", [0, 1, 600, 0.5, 0.99])
def test_a_truncated_file(path, kept):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(
        ActivationError,
        match=r"logic.h5 is truncated, damaged, or not the activations of one model.*dvc repro collect@sft-0",
    ):
        store.read_header(path)


def test_another_format_version(path):
    with edited_hdf5(path) as file:
        file.attrs["format_version"] = 0
    with pytest.raises(ActivationError, match="format_version 0, expected 3.*dvc repro"):
        store.read_header(path)


def test_an_hdf5_file_of_something_else(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ActivationError, match="or not the activations of one model on one task .it holds no digest"):
        store.read_header(tmp_path / "a.h5")
    append_digest(tmp_path / "a.h5")
    with pytest.raises(ActivationError, match="format_version None, expected 3"):
        store.read_header(tmp_path / "a.h5")


def test_an_incomplete_file(path):
    with edited_hdf5(path) as file:
        del file["last_token/blocks.1.hook_resid_post"]
        del file.attrs["mask"]
    with pytest.raises(ActivationError, match="the header lacks mask"):
        store.read_header(path)
    with edited_hdf5(path) as file:
        file.attrs["mask"] = "none"
    with pytest.raises(
        ActivationError, match="1 datasets are missing, the first is last_token/blocks.1.hook_resid_post"
    ):
        store.read_header(path)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("last_tokn", "resid_mid", 0), "no aggregation 'last_tokn': did you mean 'last_token'.*collect.aggregations"),
        (("mean", "resid_mid", 0), "no aggregation 'mean'.*stored here: last_token, all_tokens"),
        (("last_token", "resid_pots", 0), "no site 'resid_pots': did you mean 'resid_post'"),
        (("last_token", "resid_mid", 2), "no layer 2: expected 0 to 1"),
        (("last_token", "resid_mid", -1), "no layer -1"),
    ],
)
def test_a_misspelt_request(path, request_, message):
    with pytest.raises(ActivationError, match=message):
        store.read_site(path, *request_)


def test_files_of_the_same_tokens_are_comparable():
    store.require_comparable(
        HEADER, replace(HEADER, model="base-s0", weight_hash="cc", paradigm="base", library_versions={})
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"token_hash": "cc"}, "token_hash differs"),
        (
            {"mask": "reasoning of another style", "token_hash": "cc"},
            "sft-s0 and base-s0.*mask differs .'without position 0' and 'reasoning of another style'",
        ),
        ({"precision": "nf4"}, "precision differs.*'float32' and 'nf4'.*or add precision to measure.unlike"),
        (
            {"prompt_format": "chat", "token_hash": "cc"},
            "prompt_format differs.*or add prompt_format to measure.unlike",
        ),
        ({"all_tokens_dtype": "bfloat16"}, "all_tokens_dtype differs"),
        ({"aggregations": ("mean",)}, "aggregations differs"),
        ({"d_model": 8}, "d_model differs"),
        ({"prompt_ids": ("a", "b", "c", "d")}, "base-s0 lacks 1 of 5 prompts, e.g. é"),
        ({"prompt_ids": ("b", "a", "c", "d", "é")}, "same ids in another order"),
    ],
)
def test_files_that_are_not_comparable(changed, message):
    with pytest.raises(ActivationError, match=message):
        store.require_comparable(HEADER, replace(HEADER, model="base-s0", **changed))


@pytest.mark.parametrize(
    ("changed", "unlike"),
    [
        ({"precision": "nf4"}, ["precision"]),
        ({"prompt_format": "chat", "token_hash": "cc"}, ["prompt_format"]),
        ({"prompt_format": "chat", "token_hash": "cc", "precision": "nf4"}, ["precision", "prompt_format"]),
    ],
)
def test_unlike_conditions_are_compared_when_asked_for(changed, unlike):
    other = replace(HEADER, model="base-s0", **changed)
    store.require_comparable(HEADER, other, unlike)
    with pytest.raises(ActivationError, match="n_layers differs"):
        store.require_comparable(HEADER, replace(other, n_layers=3), unlike)


def test_unlike_tokens_need_an_unlike_format():
    with pytest.raises(ActivationError, match="token_hash differs"):
        store.require_comparable(
            HEADER, replace(HEADER, model="base-s0", token_hash="cc"), ["precision", "prompt_format"]
        )


def bits(values):
    """The upper halves of float32."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


@pytest.fixture
def half(tmp_path):
    """A file of 3000 bfloat16 rows in several chunks, and its values."""
    values = np.random.default_rng(0).normal(size=(3000, 256)).astype(np.float32)
    header = replace(
        HEADER, d_model=256, n_layers=1, aggregations=("all_tokens",), sites=("resid_post",), all_tokens_dtype="bfloat16",
        prompt_ids=("a", "b"),
    )  # fmt: skip
    path = tmp_path / "sft-s0" / "logic.h5"

    def write(**changed):
        block = Block("all_tokens", "resid_post", 0, changed.get("values", bits(values)))
        store.write(path, header, [block], np.array([0, 1000, 3000]), np.ones(3000, bool))
        return path

    return write, values


def test_bfloat16_trajectories_come_back_without_loss(half):
    write, values = half
    read = store.read_site(write(), "all_tokens", "resid_post", 0)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(bits(read), bits(values))
    assert not (read.view(np.uint32) & 0xFFFF).any()
    with h5py.File(write(), "r") as file:
        assert len(list(store._slices(file["all_tokens/blocks.0.hook_resid_post"]))) > 1


@pytest.mark.parametrize("bad", [0x7F80, 0xFF80, 0x7FC0, 0xFFFF])  # infinities and NaN
def test_non_finite_bfloat16_is_refused(bad, half):
    write, values = half
    stored = bits(values)
    stored[2000, 7] = bad
    with pytest.raises(ActivationError, match="hook_resid_post is not finite, first at prompt b"):
        write(values=stored)
    with pytest.raises(ActivationError, match="is float32, expected uint16"):
        write(values=values)


@pytest.mark.parametrize("value", [1.4e34, -2e6, 1e20])
def test_rows_that_are_too_long_are_refused_on_writing_and_on_reading(path, value):
    values = np.zeros((N, D), np.float32)
    values[2, 3] = value
    message = "resid_mid has norms above 1e.06, first at prompt c"
    with pytest.raises(ActivationError, match=message):
        write(path, **{"last_token/blocks.0.hook_resid_mid": values})
    with edited_hdf5(path) as file:
        file["last_token/blocks.0.hook_resid_mid"][:] = values
    with pytest.raises(ActivationError, match=message):
        store.read_site(path, "last_token", "resid_mid", 0)


def test_long_rows_within_the_bound_of_the_header_are_read(tmp_path):
    header = replace(HEADER, norm_high=1e8)
    long = np.full((N, D), 1e7, np.float32)
    path = write(tmp_path / "sft-s0" / "logic.h5", header, **{"last_token/blocks.0.hook_resid_mid": long})
    np.testing.assert_array_equal(store.read_site(path, "last_token", "resid_mid", 0), long)


@pytest.mark.parametrize("place", ["base-s0/logic.h5", "sft-s0/strings.h5"])
def test_the_file_of_another_model_or_task_is_refused(path, place):
    other = path.parent.parent / place
    other.parent.mkdir(exist_ok=True)
    path.rename(other)
    with pytest.raises(ActivationError, match="holds the activations of sft-s0 on logic, not of"):
        store.read_header(other)


def test_a_flipped_bit_anywhere_is_refused(path):
    def read():
        store.read_header(path)
        store.read_offsets(path)
        for block in blocks():
            store.read_site(path, block.aggregation, block.site, block.layer)

    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(whole), size=200):
        path.write_bytes(flip(whole, bit))
        with pytest.raises(ActivationError, match=r"logic.h5.*dvc repro collect@sft-0"):
            read()
    path.write_bytes(whole)
    read()

"""Linear algebra through torch against numpy's, and the choice of the device."""

import numpy as np
import pytest

from stages.geometry import linear_algebra
from stages.geometry.resampling import factorise_subsets, joint_rows
from stages.geometry.spectrum import effective_rank, factorise
from stages.geometry.subspace import preservation_sweep
from stages.statistics.half_sampling import PAIRS, quarters

SHAPES = [(60, 12), (40, 300)]


@pytest.fixture(autouse=True)
def numpy_again():
    yield
    linear_algebra.use("cpu")


def clouds(n, d):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((n, d)) * np.geomspace(3, 0.1, d) + 2
    return x, x + 0.3 * generator.standard_normal((n, d)) * np.geomspace(3, 0.1, d)


def measures(x, y):
    """Numbers behind spectra, preservation and its replicates, of ``y`` against ``x`` (n, d)."""
    x, y = joint_rows(x, y)
    parts, ks = quarters(len(x), 3, seed=0), (2, 4)
    found = []
    for centred in (True, False):
        whole = [factorise(z, centred, 4) for z in (x, y)]
        subsets = [factorise_subsets(z, parts, PAIRS, centred, 4, every_pair=True) for z in (x, y)]
        found += [effective_rank(whole[1]), effective_rank(subsets[1].pairs), whole[1].s]
        found += [preservation_sweep(*(w.basis for w in whole), ks)]
        found += [preservation_sweep(*(getattr(s, name).basis for s in subsets), ks) for name in ("halves", "quarters")]
    return np.concatenate([np.ravel(values) for values in found])


@pytest.mark.parametrize("shape", SHAPES)
def test_through_torch_every_measure_is_the_same(shape, monkeypatch):
    """On torch's processor device: the same path as to a GPU, which few machines have."""
    x, y = clouds(*shape)
    plain = measures(x, y)
    monkeypatch.setattr(linear_algebra, "_device", "cpu")
    np.testing.assert_allclose(measures(x, y), plain, rtol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_function_through_torch(shape, monkeypatch):
    x, _ = clouds(*shape)
    tall = x if x.shape[0] > x.shape[1] else x.T
    stack = np.stack([tall, 2 * tall])  # (2, n, d)
    wanted = linear_algebra.gram(stack)
    np.testing.assert_allclose(wanted, [tall.T @ tall, 4 * tall.T @ tall], rtol=1e-12)
    monkeypatch.setattr(linear_algebra, "_device", "cpu")
    found = linear_algebra.gram(stack)
    assert isinstance(found, np.ndarray) and found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-9)
    values, vectors = linear_algebra.eigh(wanted)
    np.testing.assert_allclose(wanted @ vectors, vectors * values[:, None], atol=1e-9 * values.max())
    np.testing.assert_allclose(linear_algebra.eigvalsh(wanted), np.linalg.eigvalsh(wanted), atol=1e-12 * values.max())
    upper = linear_algebra.triangular_factor(tall)
    np.testing.assert_allclose(upper.T @ upper, tall.T @ tall, rtol=1e-9, atol=1e-9)
    assert upper.shape == (tall.shape[1], tall.shape[1]) and not np.tril(upper, -1).any()


@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="no GPU")
@pytest.mark.parametrize("shape", [*SHAPES, (300, 2000)])
def test_a_gpu_gives_the_numbers_of_the_processor(shape):
    x, y = clouds(*shape)
    plain = measures(x, y)
    linear_algebra.use("cuda")
    assert linear_algebra._device == "cuda"
    np.testing.assert_allclose(measures(x, y), plain, rtol=1e-6)


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_without_a_gpu_cuda_is_an_error(device):
    with pytest.raises(linear_algebra.DeviceError, match=f"DEVICE is '{device}', but .* here .*set DEVICE=cpu or auto"):
        linear_algebra.use(device)


@pytest.mark.parametrize("device", ["auto", "mps", "cpu"])
def test_without_a_gpu_other_devices_are_numpy(device, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    linear_algebra.use(device)
    assert linear_algebra._device is None


def test_auto_takes_the_gpu_where_there_is_one_and_cpu_does_not(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    linear_algebra.use("auto")
    assert linear_algebra._device == "cuda"
    linear_algebra.use("cpu")
    assert linear_algebra._device is None


def test_an_unknown_device_is_named():
    with pytest.raises(linear_algebra.DeviceError, match="DEVICE is 'gpu': expected one of cpu, cuda, auto, mps"):
        linear_algebra.use("gpu")

"""The data of studies."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from unstuck import datasets
from unstuck.datasets.classification import standardized
from unstuck.datasets.ten_points import ten_points
from unstuck.datasets.text import LETTERS, text
from unstuck.errors import InputError


@pytest.mark.parametrize(
    ("name", "sizes"), [("digits", (1_297, 500, 64, (1, 8, 8))), ("waves", (4_000, 1_000, 40, (1, 40)))]
)
def test_what_is_at_hand_everywhere(name: str, sizes: tuple[int, int, int, tuple[int, ...]]) -> None:
    data = datasets.load(name)
    assert (len(data.inputs), len(data.held_out_inputs), data.features, data.shape) == sizes
    assert data.inputs.dtype == torch.float32
    assert sorted(set(data.targets.tolist())) == sorted(set(data.held_out_targets.tolist())) == list(range(10))
    deviations = data.inputs.std(0)
    assert torch.allclose(data.inputs.mean(0), torch.zeros(data.features), atol=1e-4)
    assert torch.allclose(deviations[deviations > 0], torch.ones(()), atol=1e-4)
    assert datasets.load(name).fingerprint == data.fingerprint


def test_the_digits_are_split_and_none_is_on_both_sides() -> None:
    data = datasets.load("digits")
    rows = {tuple(row) for row in data.inputs.tolist()}
    assert not [row for row in data.held_out_inputs.tolist() if tuple(row) in rows]


def test_a_constant_feature_becomes_zero() -> None:
    inputs = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    learned, others = standardized(inputs, torch.tensor([[5.0, 9.0]]))
    assert learned[:, 1].tolist() == [0.0, 0.0]
    assert others[0, 1] == 2.0  # not divided by nothing
    assert others[0, 0] == pytest.approx((5.0 - 2.0) / 2**0.5)


def written(folder: Path, *, packed: bool, images: int = 3, labels: int = 3) -> Path:
    """Files like MNIST's: the i-th image is i everywhere, but for one pixel, and its label i."""
    for kind in ("train", "t10k"):
        pixels = np.repeat(np.arange(images, dtype=np.uint8)[:, None], 4, 1).reshape(images, 2, 2)
        pixels[:, 0, 1] = 9
        for name, values in (
            (f"{kind}-images-idx3", pixels),
            (f"{kind}-labels-idx1", np.arange(labels, dtype=np.uint8)),
        ):
            header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
            content = header + values.tobytes()
            path = folder / f"{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_files_like_mnists(tmp_path: Path, *, packed: bool) -> None:
    data = datasets.load(str(written(tmp_path, packed=packed)))
    assert (data.shape, data.classes, data.targets.tolist()) == ((1, 2, 2), 3, [0, 1, 2])
    assert data.inputs[:, 0].tolist() == [-1.0, 0.0, 1.0]
    assert data.inputs[:, 1].tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(data.inputs, data.held_out_inputs)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    for name in ("missing", "pairs", "short", "other"):
        (tmp_path / name).mkdir()
    written(tmp_path / "pairs", packed=False, labels=2)
    with pytest.raises(InputError, match="3 images and 2 labels"):
        datasets.load(str(tmp_path / "pairs"))
    with pytest.raises(InputError, match="there is no train-images-idx3-ubyte"):
        datasets.load(str(tmp_path / "missing"))
    file = written(tmp_path / "short", packed=False) / "t10k-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="no file of bytes like MNIST's"):
        datasets.load(str(tmp_path / "short"))
    written(tmp_path / "other", packed=True).joinpath("train-labels-idx1-ubyte.gz").write_bytes(b"not packed")
    with pytest.raises(InputError, match="cannot be read"):
        datasets.load(str(tmp_path / "other"))
    with pytest.raises(InputError, match="give digits, waves, fashion-mnist, or a folder"):
        datasets.load("mnist")


def test_the_text_is_english_in_known_letters() -> None:
    read = "".join(LETTERS[number] for number in text()[:20_000].tolist())
    assert " the " in read
    assert len(text()) > 300_000


def test_the_lecturers_points_have_the_optimum_that_is_known() -> None:
    x, y = ten_points()
    design = torch.stack([torch.ones_like(x), x], 1)
    bias, slope = torch.linalg.lstsq(design, y[:, None]).solution.flatten().tolist()
    assert (bias, slope) == pytest.approx((-188.4332, 2.66945), rel=1e-5)
    curvatures = torch.linalg.eigvalsh(2.0 * design.T @ design)
    assert curvatures.tolist() == pytest.approx([5.5735, 1.74683e6], rel=1e-4)

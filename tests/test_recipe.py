"""Recipes: names and values that are none, told with their place; files that are read back as they were written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstuck.errors import InputError
from unstuck.methods.loss import LOSSES
from unstuck.methods.optimizers import OPTIMIZERS
from unstuck.methods.schedule import SCHEDULES, named
from unstuck.recipe import WARMED_UP, Recipe, of_options, read

FULL = Recipe(
    updates=300,
    seed=3,
    batch_size=64,
    batch_rule="square-root",
    shuffle=True,
    normalization="group",
    placement="after",
    ghost_batch=16,
    loss="cross-entropy",
    optimizer="adam",
    rate=1e-3,
    momentum=0.95,
    weight_decay=1e-4,
    schedule="warm-up-cosine",
    warm_up=30,
    clip_norm=1.0,
    averaging="exponential",
)


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_has_the_names_of_the_options(tmp_path: Path) -> None:
    lines = (
        *("updates = 300", "seed = 3", "batch-size = 64", 'batch-rule = "square-root"', "shuffle = true"),
        *('normalization = "group"', 'placement = "after"', "ghost-batch = 16", 'loss = "cross-entropy"'),
        *('optimizer = "adam"', "rate = 1e-3", "momentum = 0.95", "weight-decay = 1e-4"),
        *('schedule = "warm-up-cosine"', "warm-up = 30", "clip-norm = 1", 'averaging = "exponential"'),
    )
    assert read(written(tmp_path, "\n".join(lines))) == FULL
    assert set(FULL.given) | {"epochs"} == set(Recipe.model_fields)


@given(
    recipe=st.builds(
        Recipe,
        updates=st.none() | st.integers(1, 10**9),
        rate=st.none() | st.floats(min_value=1e-300, max_value=1e300),
        momentum=st.none() | st.floats(0, 0.999999),
        shuffle=st.none() | st.booleans(),
        optimizer=st.none() | st.sampled_from(sorted(OPTIMIZERS)),
    )
)
def test_what_is_written_is_read_back(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert read(written(tmp_path_factory.mktemp("recipe"), recipe.toml())) == recipe


def test_the_document_is_the_files() -> None:
    assert Recipe(batch_size=8, clip_norm=0.5).document() == {"batch-size": 8, "clip-norm": 0.5}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rate": 0}, "--rate must be above 0; got 0"),
        ({"rate": -1.0}, "--rate must be above 0; got -1.0"),
        ({"rate": float("nan")}, "--rate must be a finite number; got nan"),
        ({"rate": float("inf")}, "--rate must be a finite number; got inf"),
        ({"updates": 0}, "--updates must be at least 1; got 0"),
        ({"updates": 2.5}, "--updates must be a whole number; got 2.5"),
        ({"epochs": True}, "--epochs must be a whole number; got True"),
        ({"seed": -1}, "--seed must be at least 0; got -1"),
        ({"momentum": 1.0}, "--momentum must be below 1; got 1.0"),
        ({"weight_decay": -0.1}, "--weight-decay must be at least 0; got -0.1"),
        ({"clip_norm": 0.0}, "--clip-norm must be above 0; got 0.0"),
        ({"warm_up": 0}, "--warm-up must be at least 1; got 0"),
        ({"ghost_batch": 1}, "--ghost-batch must be at least 2; got 1"),
        ({"batch_size": "many"}, "--batch-size must be a whole number; got 'many'"),
        ({"shuffle": 1}, "--shuffle must be a boolean; got 1"),
        ({"optimizer": 3}, "--optimizer must be a string; got 3"),
        ({"optimizer": "rmspropp"}, "cannot be 'rmspropp' (did you mean rmsprop?): it is one of gradient-descent, sgd"),
        ({"loss": "hinge"}, "--loss cannot be 'hinge': it is one of cross-entropy, squared-error-on-softmax"),
        ({"schedule": "cosin"}, "(did you mean cosine?): it is one of constant, step"),
        ({"normalization": "bach"}, "(did you mean batch?): it is one of feature, batch"),
        ({"batch_rule": "cubic"}, "--batch-rule cannot be 'cubic': it is one of linear, square-root, none"),
        ({"placement": "inside"}, "it is one of before, after"),
        ({"averaging": "mean"}, "it is one of exponential, stochastic"),
    ],
)
def test_values_that_are_none_are_refused_in_one_line(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as raised:
        of_options(settings)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('# mine\n\noptimiser = "adam"\n', "recipe.toml, line 3: `optimiser` is no setting (did you mean optimizer?)"),
        ("batch_size = 8", "line 1: `batch_size` is no setting (did you mean batch-size or batch-rule?)"),
        ("zebra = 1", "line 1: `zebra` is no setting: there are updates, epochs, seed, batch-size"),
        ("[training]\nrate = 1", "line 1: `training` is no setting: there are"),
        ("updates = 10\n  'rate' = '0.1'", "recipe.toml, line 2: `rate` must be a number; got '0.1'"),
        ("rate = inf", "line 1: `rate` must be a finite number; got inf"),
        ("ratee = 1\nmomentum = 2", "line 1: `ratee` is no setting (did you mean rate?)"),
        ("ratee = 1\nmomentum = 2", "line 2: `momentum` must be below 1; got 2"),
        ("rate = [1", "recipe.toml: is not TOML: Unclosed array"),
        ("import torch", "recipe.toml: is not TOML: Expected '='"),
    ],
)
def test_a_file_is_told_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(written(tmp_path, text))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing.toml: there is no such file; give a recipe"):
        read(tmp_path / "missing.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "picture.toml").write_bytes(b"\x89PNG\xff")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "picture.toml")


def test_in_python_a_setting_is_named_as_it_is_there() -> None:
    with pytest.raises(InputError, match="the recipe's batch_size must be at least 1; got 0"):
        Recipe(batch_size=0)
    with pytest.raises(InputError, match=r"the recipe's optimiser is no setting \(did you mean optimizer\?\)"):
        Recipe(optimiser="adam")  # type: ignore[call-arg]


def test_what_is_given_later_overrides() -> None:
    recipe = Recipe(updates=10, rate=0.1, optimizer="sgd")
    assert recipe.overridden({"rate": 0.2, "momentum": 0.9}).given == {
        "updates": 10,
        "optimizer": "sgd",
        "rate": 0.2,
        "momentum": 0.9,
    }
    assert recipe.overridden({"epochs": 2}).given == {"epochs": 2, "rate": 0.1, "optimizer": "sgd"}
    assert Recipe(epochs=2).overridden({"updates": 5}).given == {"updates": 5}
    assert recipe.given["rate"] == 0.1
    assert of_options({"rate": None, "seed": 0}).given == {"seed": 0}


def test_methods_are_what_changes_the_training_beside_its_length_and_order() -> None:
    assert Recipe(updates=3, seed=1).methods == ()
    assert Recipe(epochs=3, clip_norm=1.0, rate=0.1).methods == ("rate", "clip_norm")


@pytest.mark.parametrize("name", [*SCHEDULES, *WARMED_UP])
def test_every_schedule_has_a_name(name: str) -> None:
    assert Recipe(schedule=name).schedule == name
    assert named(name, updates=100)(50) >= 0


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_name(name: str) -> None:
    assert Recipe(loss=name).loss == name

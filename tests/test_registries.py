"""What is registered: everything that is there, under the words of the vocabulary, with its page and its tests."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from unstuck import causes, probes, remedies, specimens
from unstuck.cause import Cause
from unstuck.problem import Problem
from unstuck.reading import Reading
from unstuck.remedies.adaptive_optimizer import AdaptiveOptimizer
from unstuck.remedies.add_momentum import AddMomentum
from unstuck.remedies.add_normalization import AddNormalization
from unstuck.remedies.clip_gradient import ClipGradient
from unstuck.remedies.cross_entropy import CrossEntropy
from unstuck.remedies.decay_learning_rate import DecayLearningRate
from unstuck.remedies.decorrelate_inputs import DecorrelateInputs
from unstuck.remedies.early_stop import EarlyStop
from unstuck.remedies.escape_saddle import EscapeSaddle
from unstuck.remedies.larger_batch import LargerBatch
from unstuck.remedies.layerwise_scaling import LayerwiseScaling
from unstuck.remedies.lower_learning_rate import LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs
from unstuck.remedies.raise_learning_rate import RaiseLearningRate
from unstuck.remedies.recalibrate_batch_norm import RecalibrateBatchNorm
from unstuck.remedies.reduce_regularization import ReduceRegularization
from unstuck.remedies.regularize import Regularize
from unstuck.remedies.reinitialize import Reinitialize
from unstuck.remedies.scale_rate_with_warm_up import ScaleRateWithWarmUp
from unstuck.remedies.shuffle import Shuffle
from unstuck.remedies.smaller_batch import SmallerBatch
from unstuck.remedies.train_all_parameters import TrainAllParameters
from unstuck.remedies.warm_up import WarmUp
from unstuck.remedies.weight_averaging import WeightAveraging
from unstuck.remedy import Intervention, Remedy

ROOT = Path(__file__).resolve().parents[1]

VOCABULARY = {
    "probes": """wiring inputs outputs finite gradient step spectrum density trace sharpness landscape escape anatomy
        noise layers activations modes order generalization batch-time direction loss-surface""",
    "causes": """saddle-point local-minimum learning-rate-too-high learning-rate-too-low ill-conditioned gradient-noise
        batch-too-large unstable-start loss-mismatch unnormalized-inputs vanishing-gradient exploding-gradient
        dead-units train-eval-mismatch broken-wiring no-signal overfitting over-regularized non-finite
        unshuffled-data healthy""",
    "remedies": """escape-saddle reinitialize add-momentum lower-learning-rate decay-learning-rate raise-learning-rate
        adaptive-optimizer larger-batch weight-averaging smaller-batch scale-rate-with-warm-up layerwise-scaling
        warm-up cross-entropy normalize-inputs decorrelate-inputs add-normalization clip-gradient recalibrate-batch-norm
        train-all-parameters regularize early-stop reduce-regularization shuffle""",
}
"""The words there are; they appear in JSON, so that other people's programs rest on them."""

PARTS = ("What it means:", "How it shows:", "What is mistaken for", "What to do:", "References:")
"""Of the page that a cause's docstring is."""

EXAMPLES: tuple[Remedy, ...] = (
    TrainAllParameters(),
    RecalibrateBatchNorm(),
    NormalizeInputs(axis=1),
    DecorrelateInputs(),
    Shuffle(),
    CrossEntropy(outputs="probabilities"),
    CrossEntropy(outputs="shares"),
    CrossEntropy(outputs="scores"),
    LowerLearningRate(factor=0.1),
    DecayLearningRate(over=10),
    RaiseLearningRate(factor=30.0),
    WarmUp(updates=20),
    ScaleRateWithWarmUp(factor=4.0, warm_up=50),
    LargerBatch(factor=4),
    SmallerBatch(factor=4, rule="square-root"),
    EarlyStop(updates=20),
    EarlyStop(),
    ReduceRegularization(factor=0.0),
    ReduceRegularization(factor=0.1),
    Regularize(decay=0.3),
    ClipGradient(norm=0.5),
    AddMomentum(momentum=0.9),
    WeightAveraging(decay=0.99),
    WeightAveraging(decay=1.0, start=100, every=5),
    AdaptiveOptimizer(rate=0.001),
    LayerwiseScaling(optimizer="lars", share=0.01),
    LayerwiseScaling(optimizer="lamb", share=0.01),
    EscapeSaddle(way="negative curvature", length=-0.25, update=100, seed=3),
    EscapeSaddle(way="perturbation", length=1.0, update=0),
    Reinitialize(seed=7),
    AddNormalization(kind="batch"),
    AddNormalization(kind="group", place="after activation"),
    AddNormalization(kind="weight"),
)
"""Every remedy with settings it may have."""


def modules(folder: ModuleType) -> set[str]:
    return {f"{folder.__name__}.{found.name}" for found in pkgutil.iter_modules(folder.__path__)}


def name(remedy: Remedy) -> str:
    return f"{remedy.slug} {dataclasses.asdict(remedy)}"  # type: ignore[call-overload]


def test_every_module_is_registered() -> None:
    assert {probe.__module__ for probe in probes.ALL} == modules(probes)
    assert {cause.judge.__module__ for cause in causes.ALL} == modules(causes)
    assert {remedy.__module__ for remedy in remedies.ALL} == modules(remedies)


@pytest.mark.parametrize(
    ("kind", "slugs"),
    [
        ("probes", [probe.reads.probe for probe in probes.ALL]),
        ("causes", [cause.slug for cause in causes.ALL]),
        ("remedies", [remedy.slug for remedy in remedies.ALL]),
    ],
)
def test_slugs_are_words_of_the_vocabulary_and_each_is_used_once(kind: str, slugs: list[str]) -> None:
    assert set(slugs) <= set(VOCABULARY[kind].split())
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize("kind", ["causes", "remedies"])
def test_every_module_has_tests_of_its_own(kind: str) -> None:
    there = {path.stem for path in (ROOT / "tests" / kind).glob("test_*.py")}
    assert {
        f"test_{module.rpartition('.')[2]}" for module in modules(importlib.import_module(f"unstuck.{kind}"))
    } == there


@pytest.mark.parametrize("cause", causes.ALL, ids=lambda cause: cause.slug)
def test_a_cause_is_a_page_with_remedies_and_specimens(cause: Cause) -> None:
    page = " ".join((sys.modules[cause.judge.__module__].__doc__ or "").split())
    places = [page.find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)
    assert cause.means
    assert cause.sick
    assert cause.well
    assert not set(cause.sick) & set(cause.well)
    assert set(cause.remedies) <= set(remedies.ALL)
    assert cause.measure in ("train_loss", "valid_loss", "eval_gap")
    assert cause.chapter in range(6)


@pytest.mark.parametrize("cause", causes.ALL, ids=lambda cause: cause.slug)
def test_what_a_cause_needs_some_probe_reads(cause: Cause) -> None:
    given = {probe.reads for probe in probes.ALL}
    assert cause.needs
    assert {kind for kind, _ in cause.needs.values()} <= given
    assert all(issubclass(kind, Reading) for kind in given)


def test_one_reading_has_one_probe() -> None:
    assert len({probe.reads for probe in probes.ALL}) == len(probes.ALL)
    assert all(probe.reads.title for probe in probes.ALL)
    assert all(probe.reads.chapter in range(6) for probe in probes.ALL)


def test_only_what_is_well_is_no_fault() -> None:
    assert [cause.slug for cause in causes.ALL if not cause.fault] == ["healthy"]


def test_every_specimen_is_someones() -> None:
    """Specimens are tests: one that no cause names would not be diagnosed."""
    named = {specimen for cause in causes.ALL for specimen in (*cause.sick, *cause.well)}
    assert named == {getattr(specimens, word) for word in specimens.__all__ if word != "DEFAULT"}
    assert specimens.DEFAULT in named


def test_every_remedy_has_an_example_here() -> None:
    assert {type(remedy) for remedy in EXAMPLES} == set(remedies.ALL)


@pytest.mark.parametrize("remedy", EXAMPLES, ids=name)
def test_settings_go_to_json_and_come_back(remedy: Remedy) -> None:
    stored = json.dumps(dataclasses.asdict(remedy), allow_nan=False)  # type: ignore[call-overload]
    assert type(remedy)(**json.loads(stored)) == remedy
    assert hash(remedy) == hash(type(remedy)(**json.loads(stored)))


@pytest.mark.parametrize("made", [specimens.half_wired, specimens.product_at_origin], ids=lambda made: made.__name__)
@pytest.mark.parametrize("remedy", EXAMPLES, ids=name)
def test_a_remedy_says_what_it_does_and_what_to_change(remedy: Remedy, made: type[Problem]) -> None:
    assert remedy.says()
    assert remedy.says() == remedy.says().strip().rstrip(".")  # it becomes part of a sentence
    lines = remedy.diff(made()).split("\n")
    assert all(line[:1] in ("-", "+", " ") for line in lines)
    assert any(line.startswith("+") for line in lines)
    assert remedy.chapter in range(6)
    assert isinstance(remedy.intervention, Intervention)


def test_the_lecture_tables_are_current(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    specification = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    assert specification is not None
    assert specification.loader is not None
    make_tables = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(make_tables)
    monkeypatch.setattr(sys, "argv", ["make_tables.py", "--check"])
    assert make_tables.main() == 0, capsys.readouterr().err

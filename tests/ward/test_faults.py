"""Kinds of faults: enough of them, over all causes, and each plants what it says."""

from __future__ import annotations

import math
import typing

import pytest
import torch
from torch import nn

from unstuck.problem import Problem
from unstuck.walk import walk
from unstuck.ward import changes, faults, healthy, hosts, tasks
from unstuck.ward.fault import Fault, Measure
from unstuck.ward.healthy import Wellness
from unstuck.ward.parts import Parts

CAUSES = {
    *("saddle-point", "local-minimum", "learning-rate-too-high", "learning-rate-too-low", "ill-conditioned"),
    *("gradient-noise", "batch-too-large", "unstable-start", "loss-mismatch", "unnormalized-inputs"),
    *("vanishing-gradient", "exploding-gradient", "dead-units", "train-eval-mismatch", "broken-wiring", "no-signal"),
    *("overfitting", "over-regularized", "non-finite", "unshuffled-data"),
}
"""All that can be wrong (shared vocabulary of reports)."""


def planted(kind: str, host: str, severity: float | None = None, optimizer: str = "sgd") -> Parts:
    """A host with a fault, as it is before it walks."""
    return faults.BY_KIND[kind].planted(hosts.BY_NAME[host].parts(optimizer, 0), severity).but(walked=0)


def test_there_are_enough_of_them() -> None:
    assert len(faults.BY_KIND) == len(faults.ALL) >= 40
    assert {fault.cause for fault in faults.ALL} == CAUSES
    assert {cause for fault in faults.ALL for cause in fault.also} <= CAUSES
    assert {host for fault in faults.ALL for host in fault.hosts} == set(hosts.BY_NAME)
    assert {each for fault in faults.ALL for each in fault.optimizers} == set(hosts.OPTIMIZERS)
    assert {fault.measure for fault in faults.ALL} == set(typing.get_args(Measure))


@pytest.mark.parametrize("fault", faults.ALL, ids=lambda fault: fault.kind)
def test_a_fault_can_be_planted_wherever_it_says(fault: Fault) -> None:
    """A problem that makes an update comes of it, the global generator does not notice, and the same comes again."""
    before = torch.get_rng_state()
    for host in fault.hosts:
        severity = fault.severities[-1] if fault.severities else None
        problems = [planted(fault.kind, host, severity, fault.optimizers[-1]).problem("planted") for _ in range(2)]
        points = [problem.point() for problem in problems]
        assert all(torch.equal(points[0][name], points[1][name]) for name in points[0])
        assert len(walk(problems[0].branch(), 1).curve) == 1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wellness", healthy.ALL, ids=lambda wellness: wellness.kind)
def test_health_comes_in_many_ways(wellness: Wellness) -> None:
    for host in wellness.hosts:
        parts = hosts.BY_NAME[host].parts(wellness.optimizers[0], 0)
        if wellness.kind == "frozen-on-purpose":
            parts = parts.but(train=(parts.train[0][:64], parts.train[1][:64]))
        problem = wellness.make(parts).but(walked=0).problem("healthy")
        assert math.isfinite(problem.mean_loss([next(problem.data.order(0))]))


def outputs(parts: Parts) -> torch.Tensor:
    found: torch.Tensor = parts.model.eval()(parts.train[0][:64]).detach()
    return found


def listed(problem: Problem) -> set[int]:
    return {id(parameter) for group in problem.optimizer.param_groups for parameter in group["params"]}


def test_softmax_twice_gives_probabilities_to_cross_entropy() -> None:
    parts = planted("softmax-twice", "perceptron")
    assert torch.allclose(outputs(parts).sum(1), torch.ones(64))
    assert parts.loss is nn.functional.cross_entropy


@pytest.mark.parametrize("kind", ["squared-error-on-softmax", "squared-error-on-sigmoid"])
def test_confidently_wrong_answers_have_no_slope(kind: str) -> None:
    """At the start the gradient on the scores is a fraction of cross-entropy's."""
    parts = planted(kind, "perceptron", 100)
    inputs, targets = parts.train
    scores = parts.model[0](inputs).detach().requires_grad_()  # type: ignore[index]
    (flat,) = torch.autograd.grad(parts.loss(parts.model[1](scores), targets), scores)  # type: ignore[index]
    (steep,) = torch.autograd.grad(nn.functional.cross_entropy(scores, targets), scores)
    assert float(flat.norm() / steep.norm()) < 0.1


@pytest.mark.parametrize("host", ["perceptron", "transformer"])
def test_what_the_optimizer_holds(host: str) -> None:
    def counted(kind: str) -> tuple[int, int]:
        problem = planted(kind, host).problem(kind)
        held = [parameter for parameter in problem.model.parameters() if id(parameter) in listed(problem)]
        return len(held), len(listed(problem)) - len(held)

    everything = len(list(hosts.BY_NAME[host].network().parameters()))
    assert counted("body-missing") == (2, 0)
    assert counted("head-missing") == (everything - 2, 0)
    assert counted("head-exchanged") == (everything - 2, 2)
    assert 0 < counted("biases-alone")[0] < everything
    frozen = planted("frozen-body", host)
    assert sum(parameter.requires_grad for parameter in frozen.model.parameters()) == 2


def test_scales_of_inputs() -> None:
    before = hosts.BY_NAME["perceptron"].parts("sgd", 0).train[0]
    assert torch.allclose(planted("shifted-inputs", "perceptron", 10).train[0], before + 10)
    assert torch.allclose(planted("large-inputs", "perceptron", 30).train[0], 30 * before)
    columns = (planted("column-scales", "perceptron", 3).train[0] / before).median(0).values
    assert float(columns.max() / columns.min()) > 1e3
    correlated = planted("correlated-inputs", "perceptron", 1_000).train[0]
    assert torch.allclose(correlated.std(0), torch.ones(20), atol=1e-3)
    spread = torch.linalg.svdvals(correlated)
    assert 1e2 < float(spread[0] / spread[-1]) < 1e5


def test_signals_on_their_way_through_the_layers() -> None:
    def size(kind: str, severity: float, host: str = "perceptron") -> float:
        return float(outputs(planted(kind, host, severity)).std(0).mean())

    assert size("deep-sigmoid", 8) < size("deep-without-help", 10) < 1e-3 < 1e3 < size("growing-layers", 10)
    assert size("forgetful-recurrence", 0.2, "recurrent") < size("growing-recurrence", 3, "recurrent") / 100
    assert size("dead-rectifiers", 20) == 0
    hidden = changes.head(planted("saturated-units", "perceptron", 100).model)
    assert hidden.in_features == 32


def test_statistics_that_are_not_those_of_the_data() -> None:
    parts = faults.BY_KIND["strange-statistics"].planted(hosts.BY_NAME["convolutional"].parts("adam", 0), 10)
    trained = parts.but(walked=100).problem("strange")
    loss = {mode: trained.mean_loss(trained.data.sample(256, chunk=128, seed=0), mode=mode)
            for mode in ("training", "evaluation")}  # fmt: skip
    assert loss["evaluation"] > loss["training"] + 0.2


def test_data_and_what_is_made_of_it() -> None:
    targets = planted("sorted-by-target", "convolutional").train[1]
    assert bool((targets.diff() >= 0).all())
    assert not planted("sorted-by-target", "convolutional").shuffle
    assert len(planted("few-samples", "perceptron", 32).train[0]) == 32
    noisy, before = planted("learned-by-heart", "perceptron", 0.5).train[1], hosts.BY_NAME["perceptron"].parts("sgd", 0)
    assert 0.2 < float((noisy != before.train[1][:512]).double().mean()) < 0.5
    assert bool(planted("not-a-number", "residual").train[0].isnan().any())
    for kind, severity in (("log-of-zero", 1_000), ("overflow", 1_000), ("divided-by-zero", None)):
        parts = planted(kind, "perceptron", severity)
        with torch.no_grad():
            assert not parts.loss(parts.model(parts.train[0]), parts.train[1]).isfinite()


def test_a_training_is_handed_over_where_it_has_got_to() -> None:
    """Walked, on a schedule that has gone on, with its beginning kept."""
    fault = faults.BY_KIND["schedule-ended"]
    parts = fault.planted(hosts.BY_NAME["perceptron"].parts("sgd", 0), 50)
    problem = parts.problem("ended")
    assert problem.fresh is not None
    start = problem.fresh()
    assert isinstance(start, Problem)
    assert problem.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * 0.02)
    assert start.optimizer.param_groups[0]["lr"] == pytest.approx(0.02)
    sample = problem.data.sample(512, chunk=256, seed=0)
    assert problem.mean_loss(sample) < start.mean_loss(sample) - 0.1


def test_multiplied_losses() -> None:
    host = hosts.BY_NAME["transformer"].parts("sgd", 0)
    inputs, targets = (tensor[:8] for tensor in host.train)
    scores = host.model(inputs)
    for kind, factor in (("scale-left-in", 64), ("mean-taken-twice", 1 / 32)):
        parts = planted(kind, "transformer", factor)
        assert torch.allclose(parts.loss(scores, targets), factor * host.loss(scores, targets))


@pytest.mark.parametrize("host", ["convolutional", "transformer", "mixer"])
def test_what_is_in_a_list_is_not_learned(host: str) -> None:
    """The function is the same; of matrices the last one is left, and an embedding."""
    parts = planted("hidden-in-a-list", host)
    assert torch.equal(outputs(parts), outputs(hosts.BY_NAME[host].parts("sgd", 0)))
    assert len(changes.layers(parts.model)) == 1


@pytest.mark.parametrize("host", ["perceptron", "transformer", "autoencoder"])
def test_batches_of_a_kind_hold_all_samples_and_each_batch_few_targets(host: str) -> None:
    before, parts = hosts.BY_NAME[host].parts("sgd", 0), planted("batches-of-a-kind", host)
    first = parts.train[1].view(tasks.SAMPLES, -1)[:, 0].double()
    assert torch.equal(first.sort().values, before.train[1].view(tasks.SAMPLES, -1)[:, 0].double().sort().values)
    assert float(first.view(-1, parts.batch).std(1).mean()) < 0.2 * float(first.std())
    assert not parts.shuffle


def test_few_samples_many_times() -> None:
    inputs = planted("repeated-samples", "recurrent", 32).train[0]
    assert len(inputs) == tasks.SAMPLES
    assert len(inputs.unique(dim=0)) == 32


def test_a_masked_logarithm_is_finite_and_its_slope_is_not() -> None:
    parts = planted("masked-logarithm", "perceptron", 1_000)
    loss = parts.loss(parts.model(parts.train[0]), parts.train[1])
    (slope,) = torch.autograd.grad(loss, changes.head(parts.model).weight)
    assert loss.isfinite()
    assert not slope.isfinite().all()


def test_more_signals_on_their_way_through_the_layers() -> None:
    def size(kind: str, host: str, severity: float | None) -> float:
        return float(outputs(planted(kind, host, severity)).std(0).mean())

    assert size("deep-convolutions", "residual", 16) < 1e-3 < 10 < size("unnormalized-shortcuts", "mixer", 12)
    assert size("zero-scales", "convolutional", None) == 0
    assert float(outputs(planted("rectified-outputs", "mixer")).min()) == 0


@pytest.mark.parametrize("kind", ["normalized-in-the-model", "zero-head", "never-shuffled", "sorted-and-shuffled"])
def test_what_only_looks_ill(kind: str) -> None:
    """The same samples and, but for a last layer of zeros, the same outputs as the host's."""
    before = hosts.BY_NAME["perceptron"].parts("sgd", 0)
    parts = healthy.BY_KIND[kind].make(hosts.BY_NAME["perceptron"].parts("sgd", 0))
    assert torch.equal(parts.train[1].bincount(), before.train[1].bincount())
    found, expected = (each.model.eval()(each.train[0]).sum(0) for each in (parts, before))
    assert torch.allclose(found, torch.zeros(4) if kind == "zero-head" else expected, atol=0.1)

"""Normalization put into models that others built: where it goes, what it leaves alone, and what it takes along."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests import zoo
from tests.surgery.networks import CLASSES, FEATURES, SEEN, Pictures, deep, inserted, names
from tests.untouched import assert_untouched
from torch import Tensor, nn

from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.surgery.insertion import NORMALIZATIONS, with_normalization
from unstuck.surgery.normalization_layers import Standardized
from unstuck.walk import walk

OF_OUTPUTS = ("batch", "layer", "instance", "group", "batch-renorm")


@pytest.mark.parametrize("kind", ["batch", "layer", "group", "weight", "spectral", "batch-renorm"])
@pytest.mark.parametrize("name", SEEN)
def test_hidden_layers_that_feed_an_activation(name: str, kind: str) -> None:
    model, changed, left = SEEN[name]
    problem = zoo.problem(model)
    with assert_untouched(problem):
        found = with_normalization(problem.branch(), kind)
        run = walk(found.problem, 12)
    assert names(found.changed) == changed
    assert names(found.left) == left
    assert all(f"{kind} normalization" in line for line in found.changed)
    assert run.broke_at is None
    assert run.curve[-1].loss < run.curve[0].loss + 0.5
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in found.problem.model.modules())


MODULES: dict[tuple[str, str], dict[str, str]] = {
    ("pictures", "batch"): {"first": "BatchNorm2d(16", "second": "BatchNorm2d(6", "third": "BatchNorm1d(8"},
    ("pictures", "layer"): {"first": "GroupNorm(1, 16", "second": "GroupNorm(1, 6", "third": "LayerNorm((8,)"},
    ("pictures", "instance"): {"first": "InstanceNorm2d(16", "second": "InstanceNorm2d(6"},
    ("pictures", "group"): {"first": "GroupNorm(2, 16", "second": "GroupNorm(1, 6", "third": "GroupNorm(1, 8"},
    ("pictures", "batch-renorm"): {"first": "BatchRenorm()", "second": "BatchRenorm()", "third": "BatchRenorm()"},
    ("attention", "layer"): {"enter.0": "LayerNorm((6,)", "widen": "LayerNorm((10,)"},
    ("attention", "batch"): {"enter.0": "FeaturesLast", "widen": "FeaturesLast"},
    ("perceptron", "batch"): {"0": "BatchNorm1d(16", "2": "BatchNorm1d(16"},
}


@pytest.mark.parametrize(("name", "kind"), MODULES, ids=" ".join)
def test_each_layer_gets_the_module_that_fits_it(name: str, kind: str) -> None:
    model = inserted(SEEN[name][0], kind).problem.model
    for layer, shown in MODULES[name, kind].items():
        both = model.get_submodule(layer)
        assert isinstance(both, nn.Sequential)
        assert repr(both[1]).startswith(shown)


@pytest.mark.parametrize("name", ["perceptron", "pictures", "residual", "attention"])
def test_what_comes_out_of_a_layer_is_normal(name: str) -> None:
    """Over samples, and places or steps, for each channel; in training mode."""
    found = inserted(SEEN[name][0], "batch").problem
    outputs: dict[str, Tensor] = {}
    for layer in SEEN[name][1]:
        module = found.model.get_submodule(layer)
        module.register_forward_hook(lambda module, inputs, given, layer=layer: outputs.update({layer: given.clone()}))
    found.model(zoo.table()[0])
    for layer, given in outputs.items():
        channels = given.movedim(-1 if "attention" in name else 1, 0).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)).double(), rtol=0, atol=1e-12)
        assert channels.var(1, correction=0).sub(1).abs().max() < 0.05, layer


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_no_step_of_a_sequence_sees_another(kind: str) -> None:
    problem = zoo.problem(
        lambda: nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES)),
        train=zoo.shuffled(zoo.sequence(zoo.table()[0]), zoo.table()[1][:, None].repeat(1, zoo.STEPS)),
        loss=lambda outputs, targets: F.cross_entropy(outputs.movedim(-1, 1), targets),
    )
    model = with_normalization(problem.branch(), kind).problem.model
    steps = zoo.sequence(zoo.table()[0])
    changed = steps.clone()
    changed[:, -1] += 1
    assert torch.equal(model(steps)[:, :-1], model(changed)[:, :-1])
    assert not torch.equal(model(steps)[:, -1], model(changed)[:, -1])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "btach"}, "'btach' is not known; known are feature, batch,"),
        ({"kind": "batch", "place": "after"}, "'after' is not known; known are before activation, after activation"),
    ],
)
def test_words_that_are_not_known(settings: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        with_normalization(zoo.problem(deep).branch(), **settings)


def test_after_the_activation() -> None:
    found = inserted(deep, "batch", place="after activation")
    assert [type(module).__name__ for module in found.problem.model.children()] == [
        *("Linear", "Sequential", "Linear", "Sequential", "Linear")
    ]
    assert all("after its activation" in line for line in found.changed)
    assert found.problem.model(zoo.table()[0]).shape == (zoo.SAMPLES, CLASSES)
    assert walk(found.problem, 5).broke_at is None


@pytest.mark.parametrize("kind", OF_OUTPUTS)
@pytest.mark.parametrize("name", ["momentum", "adam", "adamw", "rmsprop"])
def test_the_optimizer_keeps_its_state_and_takes_the_new_parameters(name: str, kind: str) -> None:
    problem = zoo.problem(Pictures, optimizer=zoo.OPTIMIZERS[name])
    branch = problem.branch()
    walk(branch, 3)
    old = dict(branch.optimizer.state)
    held = {id(parameter): copy.deepcopy(state) for parameter, state in old.items()}
    found = with_normalization(branch, kind).problem
    (group,) = found.optimizer.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in found.model.parameters()}
    assert len(group["params"]) == len(set(map(id, group["params"])))
    for parameter, state in old.items():
        now = found.optimizer.state[parameter]
        assert all(torch.equal(now[key], before) for key, before in held[id(parameter)].items() if now is state)
    before = found.point()
    walk(found, 3)
    assert all(not torch.equal(before[part], tensor) for part, tensor in found.point().items())


def test_new_parameters_follow_their_layer_into_its_group() -> None:
    problem = zoo.problem(deep)
    layers = [list(problem.model[place].parameters()) for place in (0, 2, 4)]  # type: ignore[index]
    optimizer = torch.optim.SGD([{"params": layers[0], "lr": 0.1}, {"params": layers[1] + layers[2], "lr": 0.2}])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda t: 0.5**t, lambda t: 0.9**t])
    branch = problem.changed(optimizer=optimizer, scheduler=scheduler, schedule_every="update").branch()
    found = with_normalization(branch, "batch").problem
    assert [len(group["params"]) for group in found.optimizer.param_groups] == [4, 6]
    walk(found, 2)
    assert [group["lr"] for group in found.optimizer.param_groups] == pytest.approx([0.1 * 0.25, 0.2 * 0.81])


def test_weight_normalization_keeps_the_function_and_hands_the_state_to_the_direction() -> None:
    branch = zoo.problem(Pictures, optimizer=zoo.OPTIMIZERS["adam"]).branch()
    walk(branch, 3)
    inputs = zoo.table()[0]
    before = branch.model(inputs)
    first = branch.model.first
    assert isinstance(first, nn.Conv2d)
    momentum = branch.optimizer.state[first.weight]["exp_avg"]
    found = with_normalization(branch, "weight").problem
    torch.testing.assert_close(found.model(inputs), before)
    direction = found.model.get_parameter("first.parametrizations.weight.original1")
    assert found.optimizer.state[direction]["exp_avg"] is momentum
    assert {id(p) for p in found.optimizer.param_groups[0]["params"]} == {id(p) for p in found.model.parameters()}
    assert found.model.get_parameter("second.parametrizations.weight.original0").shape == (1, 6, 1, 1)


def test_spectral_normalization_bounds_every_layer_and_draws_nothing() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    twins = [inserted(deep, "spectral").problem for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    for mine, its in zip(twins[0].model.state_dict().values(), twins[1].model.state_dict().values(), strict=True):
        assert torch.equal(mine, its)
    walk(twins[0], 30)
    weight = twins[0].model[2].weight  # type: ignore[index]
    assert float(torch.linalg.matrix_norm(weight.detach(), 2)) == pytest.approx(1.0, rel=0.01)


def test_features_are_normalized_in_front_of_the_model() -> None:
    found = inserted(deep, "feature")
    assert isinstance(found.problem.model, Standardized)
    torch.testing.assert_close(found.problem.model.mean, zoo.table()[0].mean(0))
    assert found.changed == ("the inputs: standardized",)


@pytest.mark.parametrize("name", ["own step", "counting", "accumulating", "clipping", "stream loader", "named inputs"])
def test_any_way_of_training_goes_on(name: str) -> None:
    def wide() -> nn.Module:
        class Wide(zoo.Pair):
            def __init__(self) -> None:
                super().__init__()
                self.head = nn.Linear(CLASSES, CLASSES)

            def forward(self, left: Tensor, right: Tensor) -> Tensor:
                outputs: Tensor = self.head(super().forward(left, right))
                return outputs

        return Wide()

    problem = zoo.ZOO[name](torch.float64)
    if name == "named inputs":
        problem = zoo.problem(wide, train=problem.train)
    with assert_untouched(problem):
        found = with_normalization(problem.branch(), "batch")
        assert walk(found.problem, 4).broke_at is None
    assert len(found.changed) == 1


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_the_treated_problem_is_a_problem_like_any(kind: str) -> None:
    """It is copied, its state goes into another one's, and its loss is a pure function."""
    model = Pictures if kind != "feature" else deep
    problem = inserted(model, kind).problem
    walk(problem, 3)
    twin = inserted(model, kind).problem
    twin.model.load_state_dict(problem.model.state_dict())
    batch = problem.data.sample(8, chunk=8, seed=0)[0]
    with assert_untouched(problem):
        expected = problem.loss_at(problem.point(), batch)
        branch = problem.branch()
        assert torch.equal(branch.loss_at(branch.point(), batch), expected)
        assert torch.equal(twin.loss_at(twin.point(), batch), expected)
        walk(branch, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", OF_OUTPUTS)
def test_new_modules_are_of_the_layers_type(kind: str, dtype: torch.dtype) -> None:
    found = with_normalization(zoo.problem(Pictures, dtype).branch(), kind).problem
    assert {tensor.dtype for tensor in found.model.state_dict().values()} <= {dtype, torch.int64}
    assert walk(found, 2).broke_at is None


@pytest.mark.parametrize("kind", ["batch", "weight"])
def test_a_model_in_eval_mode_stays_in_eval_mode(kind: str) -> None:
    problem = zoo.problem(deep)
    problem.model.eval()
    assert not any(module.training for module in with_normalization(problem.branch(), kind).problem.model.modules())


class Reading(nn.Module):
    """Reads its layer's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(FEATURES, 5), nn.Linear(5, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.layer(inputs).relu()) + self.layer.weight.sum()
        return outputs


class Past(nn.Module):
    """Calls its layer by another name than the one it is registered under."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(FEATURES, 5), nn.Linear(5, CLASSES)
        self.order = [(self.layer, F.relu), (self.head, F.softmax)]

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.order[0][0](inputs).relu())
        return outputs


@pytest.mark.parametrize(
    ("model", "says"), [(Reading, r"does not run with it \(AttributeError: .*weight"), (Past, "past its name")]
)
def test_code_that_does_not_let_a_layer_be_exchanged(model: Callable[[], nn.Module], says: str) -> None:
    problem = zoo.problem(model)
    with assert_untouched(problem), pytest.raises(InputError, match=says):
        with_normalization(problem.branch(), "batch")


def test_lbfgs_takes_no_new_parameters() -> None:
    problem: Problem = zoo.problem(deep, optimizer=zoo.OPTIMIZERS["lbfgs"])
    with pytest.raises(InputError, match="L-BFGS"):
        with_normalization(problem.branch(), "batch")

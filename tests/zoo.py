"""A zoo of small problems, one for each way of building a model, an optimizer, a schedule or a loader.

Everything is double precision unless it is asked for otherwise, and made under a seed of its own. Twenty-four samples
in batches of five: the last batch is ragged.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler, TensorDataset, WeightedRandomSampler

from unstuck.problem import Problem
from unstuck.untouched import seeded

SAMPLES, FEATURES, CLASSES, BATCH = 24, 4, 3, 5
STEPS = 3  # of a sequence
WORDS = 7

Made = Callable[[torch.dtype], Problem]


def table(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Features, shape (24, 4), and a class of three."""
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    return inputs.to(dtype), torch.randint(0, CLASSES, (SAMPLES,), generator=generator)


def generator() -> torch.Generator:
    """A loader's own generator."""
    return torch.Generator().manual_seed(5)


def shuffled(*tensors: Tensor, batch: int = BATCH) -> DataLoader[Any]:
    """A loader that shuffles by its own generator."""
    return DataLoader(TensorDataset(*tensors), batch_size=batch, shuffle=True, generator=generator())


def problem(model: Callable[[], nn.Module], dtype: torch.dtype = torch.float64, **fields: Any) -> Problem:
    """A classifier under momentum, where ``fields`` says nothing else."""
    with seeded(3):
        made = model().to(dtype)
    inputs, targets = table(dtype)
    optimizer = fields.pop("optimizer", lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9))
    scheduler = fields.pop("scheduler", None)
    given = {"loss": nn.CrossEntropyLoss(), "train": shuffled(inputs, targets), **fields}
    built = optimizer([p for p in made.parameters() if p.requires_grad])
    return Problem(model=made, optimizer=built, scheduler=scheduler(built) if scheduler else None, **given)


def perceptron(*between: nn.Module) -> nn.Sequential:
    """4 → 5 tanh units → 3 scores, with other modules between the layers."""
    return nn.Sequential(nn.Linear(FEATURES, 5), *between, nn.Tanh(), nn.Linear(5, CLASSES))


class Images(nn.Module):
    """A convolution with batch normalization over images made of a table's rows."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.normalization = nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2)
        self.head = nn.Linear(2, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        images = inputs.view(-1, 1, 2, 2).repeat(1, 1, 2, 2)
        outputs: Tensor = self.head(torch.relu(self.normalization(self.convolution(images))).mean((2, 3)))
        return outputs


def sequence(inputs: Tensor) -> Tensor:
    """A table's rows as sequences, shape (batch, 3, 4)."""
    return torch.stack([inputs.roll(step, 1) * (step + 1) for step in range(STEPS)], 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        steps = sequence(inputs)
        outputs: Tensor = self.head(self.attention(steps, steps, steps, need_weights=False)[0].mean(1))
        return outputs


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(FEATURES, 2, dim_feedforward=6, dropout=0.1, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.layer(sequence(inputs)).mean(1))
        return outputs


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.cells = kind(FEATURES, 3, batch_first=True)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.cells(sequence(inputs))[0][:, -1])
        return outputs


class TiedWords(nn.Module):
    """Words in, the same matrix for the scores of the words out."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 3)
        self.scores = nn.Linear(3, WORDS, bias=False)
        self.scores.weight = self.words.weight

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.scores(self.words(inputs).mean(1))
        return outputs


class Counting(nn.Module):
    """Every forward moves a buffer, assigns attributes, and keeps an activation with its graph."""

    calls: Tensor
    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = perceptron()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("average", torch.zeros(CLASSES), persistent=False)
        self.number = 0
        self.kept: list[Tensor] = []
        self.last: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        self.calls += 1
        self.average = 0.9 * self.average + 0.1 * outputs.detach().mean(0)
        self.number += 1
        self.last = outputs
        self.kept.append(outputs)
        return outputs


class Pair(nn.Module):
    """Two inputs, positional or by keyword; one parameter is used by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, CLASSES), nn.Linear(2, CLASSES)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        outputs: Tensor = self.left(left) * torch.sigmoid(self.right(right))
        return outputs


class OwnLoss(nn.Module):
    """Computes its loss itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = perceptron()

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])


class Stubborn(nn.Module):
    """Refuses to be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = perceptron(nn.BatchNorm1d(5))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return outputs

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        raise RuntimeError("holds a lock")


def dictionary(samples: list[tuple[Tensor, Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
    """Collates the columns into keyword arguments."""
    inputs = torch.stack([sample[0] for sample in samples])
    return {"left": inputs[:, :2], "right": inputs[:, 2:]}, torch.stack([sample[1] for sample in samples])


def frozen() -> nn.Module:
    model = perceptron()
    model[0].requires_grad_(False)
    return model


def weight_normalized(by: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = perceptron()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the old hook says that it is old
            by(model[0])
        return model

    return build


def after_a_forward(dtype: torch.dtype) -> Problem:
    """Weight normalization by the old hook, whose module then holds a weight that is no leaf."""
    made = problem(weight_normalized(nn.utils.weight_norm), dtype)
    made.model(table(dtype)[0])
    return made


def words(model: Callable[[], nn.Module]) -> Made:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randint(0, WORDS, (SAMPLES, STEPS), generator=generator)
    return lambda dtype: problem(model, dtype, train=shuffled(inputs, inputs[:, 0] % CLASSES))


def stubborn(dtype: torch.dtype) -> Problem:
    return problem(Stubborn, dtype, fresh=lambda: stubborn(dtype))


def two_inputs(dtype: torch.dtype) -> Problem:
    inputs, targets = table(dtype)
    return problem(Pair, dtype, train=shuffled(inputs[:, :2], inputs[:, 2:], targets))


def named_inputs(dtype: torch.dtype) -> Problem:
    loader = DataLoader(TensorDataset(*table(dtype)), batch_size=BATCH, collate_fn=dictionary)
    return problem(Pair, dtype, train=loader)


def word_vectors(*, sparse: bool) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Embedding(WORDS, 3, sparse=sparse), nn.Flatten(), nn.Linear(3 * STEPS, CLASSES))


def of(model: Callable[[], nn.Module], **fields: Any) -> Made:
    return lambda dtype: problem(model, dtype, **fields)


MODELS: dict[str, Made] = {
    "perceptron": of(perceptron),
    "batch norm": of(lambda: perceptron(nn.BatchNorm1d(5))),
    "batch norm of images": of(Images),
    "dropout": of(lambda: perceptron(nn.Dropout(0.5))),
    "layer norm": of(lambda: perceptron(nn.LayerNorm(5))),
    "attention": of(Attention),
    "transformer": of(Transformer),
    "lstm": of(lambda: Recurrent(nn.LSTM)),
    "gru": of(lambda: Recurrent(nn.GRU)),
    "embedding": words(word_vectors(sparse=False)),
    "sparse embedding": words(word_vectors(sparse=True)),
    "tied weights": words(TiedWords),
    "frozen layer": of(frozen),
    "counting": of(Counting),
    "two inputs": two_inputs,
    "named inputs": named_inputs,
    "own step": of(OwnLoss, loss=None, step=lambda model, batch: model(batch)),
    "weight norm": of(weight_normalized(nn.utils.parametrizations.weight_norm)),
    "old weight norm": after_a_forward,
    "not to be copied": stubborn,
}
"""Models, each as a function of the type of its numbers."""

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "gradient descent": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, history_size=4),
}

SCHEDULES: dict[str, dict[str, Any]] = {
    "per epoch": {"scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5)},
    "per update": {
        "scheduler": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=60),
        "schedule_every": "update",
    },
    "in sequence": {
        "scheduler": lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=3),
                torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
            ],
            milestones=[3],
        ),
        "schedule_every": "update",
    },
}


class Stream(IterableDataset[Any]):
    """A data set that can only be read from its beginning."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return zip(*self.tensors, strict=True)


def loaders(dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """One loader of each kind over :func:`table`."""
    inputs, targets = table(dtype)
    data = TensorDataset(inputs, targets)
    batches = [(inputs[i : i + BATCH], targets[i : i + BATCH]) for i in range(0, SAMPLES, BATCH)]
    weights = torch.linspace(0.1, 1.0, SAMPLES).tolist()
    return {
        "shuffled": shuffled(inputs, targets),
        "shuffled by the process": DataLoader(data, batch_size=BATCH, shuffle=True),
        "sequential": DataLoader(data, batch_size=BATCH),
        "weighted": DataLoader(data, BATCH, sampler=WeightedRandomSampler(weights, SAMPLES, generator=generator())),
        "subset": DataLoader(data, BATCH, sampler=SubsetRandomSampler(range(3, 15), generator=generator())),
        "last batch dropped": DataLoader(data, BATCH, shuffle=True, drop_last=True, generator=generator()),
        "stream": DataLoader(Stream(inputs, targets), batch_size=BATCH),
        "batches of the data set's own": DataLoader(batches, batch_size=None, shuffle=True),  # type: ignore[arg-type]
        "list": batches,
        "batch of one": shuffled(inputs, targets, batch=1),
        "full batch": shuffled(inputs, targets, batch=SAMPLES),
    }


def _of_loader(name: str) -> Made:
    return lambda dtype: problem(perceptron, dtype, train=loaders(dtype)[name])


ZOO: dict[str, Made] = (
    MODELS
    | {name: of(perceptron, optimizer=optimizer) for name, optimizer in OPTIMIZERS.items()}
    | {f"schedule {name}": of(perceptron, **fields) for name, fields in SCHEDULES.items()}
    | {f"{name} loader": _of_loader(name) for name in loaders()}
    | {
        "accumulating": of(perceptron, accumulate=2),
        "clipping": of(perceptron, clip_norm=0.1),
        "mixed precision": lambda dtype: problem(perceptron, torch.float32, precision=torch.bfloat16),
    }
)
"""Everything, by name."""

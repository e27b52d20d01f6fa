"""A file of targets as someone might write it, good ones and broken ones; the tests of the command line run on it."""

TARGETS = '''
"""Targets."""

import torch
import unstuck
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

CALLS = 0


def given(model=None, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model or nn.Linear(3, 2)
        inputs = torch.randn(24, 3)
    targets = (inputs[:, 0] > inputs[:, 1]).long()
    fields = {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "train": DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }
    return {**fields, **changes}


def good():
    return given()


def regression():
    return given(model=(model := nn.Linear(3, 1)), optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loss=lambda outputs, targets: (outputs[:, 0] - targets).square().mean(),
        train=DataLoader(TensorDataset(torch.randn(24, 3), torch.randn(24)), batch_size=4))


def talkative():
    print("loading the data ...")
    return given(name="talk: a/b")


def nan_in_data():
    inputs = torch.randn(24, 3)
    inputs[5, 1] = float("nan")
    return given(train=DataLoader(TensorDataset(inputs, torch.zeros(24).long()), batch_size=4))


def diverging():
    return given(
        model=(model := nn.Linear(3, 1)),
        loss=lambda outputs, targets: (outputs[:, 0] - targets).pow(4).mean(),
        optimizer=torch.optim.SGD(model.parameters(), lr=100.0),
    )


def interrupted_at(call):
    def loss(outputs, targets):
        global CALLS
        CALLS += 1
        if call == CALLS:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(outputs, targets)

    return given(loss=loss)


def interrupting():
    return interrupted_at(100)


def interrupting_late():
    return interrupted_at(400)


def raising():
    return 1 / 0


def leaving():
    raise SystemExit(7)


def number():
    return 3


def misspelt():
    return given(modle=1)


def without_optimizer():
    return {name: value for name, value in given().items() if name != "optimizer"}


def empty():
    return given(train=DataLoader(TensorDataset(torch.zeros(0, 3), torch.zeros(0))))


def empty_valid():
    return given(valid=[])


def wrong_valid():
    return given(valid=[(torch.zeros(4, 5), torch.zeros(4).long())])


def once():
    return given(train=iter([(torch.zeros(4, 3), torch.zeros(4).long())]))


def no_pairs():
    return given(train=[torch.zeros(4, 3)])


class Broken(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        raise KeyError(f"no sample {index}")


def broken_data():
    return given(train=DataLoader(Broken(), batch_size=4))


def loss_of_each():
    return given(loss=nn.CrossEntropyLoss(reduction="none"))


def loss_without_slope():
    return given(loss=lambda outputs, targets: (outputs.argmax(1) != targets).float().mean())


def loss_raising():
    def loss(outputs, targets):
        raise ValueError("first line\\nsecond line")

    return given(loss=loss)


def model_raising():
    return given(model=nn.Linear(4, 2))


def other_parameters():
    return given(optimizer=torch.optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1))


constant = 5
'''

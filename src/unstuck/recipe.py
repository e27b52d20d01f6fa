"""A recipe: how long to train and with which methods, by the names of the command line; as a file it is TOML."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from unstuck.errors import InputError
from unstuck.methods.batch import RULES
from unstuck.methods.loss import LOSSES
from unstuck.methods.optimizers import OPTIMIZERS
from unstuck.methods.schedule import PREFIX, SCHEDULES
from unstuck.surgery.insertion import NORMALIZATIONS

WARMED_UP = tuple(PREFIX + name for name in SCHEDULES if not name.startswith(PREFIX))
AVERAGINGS = ("exponential", "stochastic")
PLACEMENTS = ("before", "after")

PLAINER = {
    "Input should be": "must be",
    "greater than or equal to": "at least",
    "greater than": "above",
    "less than": "below",
    "valid integer": "whole number",
    "valid ": "",
}

HYPHENS = str.maketrans("-_", "_-")
"""From a setting's name to its key in a file, and back; a key with an underscore is then no setting's."""

Place = Callable[[str], str]
"""From a setting's name to where it was given, for who has to mend it."""


def _one_of(names: Iterable[str]) -> AfterValidator:
    known = tuple(names)

    def check(name: str) -> str:
        if name not in known:
            raise PydanticCustomError("name", "unknown", {"known": known})
        return name

    return AfterValidator(check)


def _meant(name: str, known: Iterable[str]) -> str:
    """A guess what was meant; empty where nothing known is like it."""
    near = difflib.get_close_matches(name, tuple(known), n=2)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


class Recipe(BaseModel):
    """How long to train, and with which methods; what is None stays as the problem has it.

    The names are those of the command line's options and, with hyphens, of a file's keys.

    Attributes:
        updates: how many in all.
        epochs: instead, how many passes over the data.
        seed: decides the order of the data and the masks.
        batch_size: samples in an update.
        batch_rule: what the rate becomes with another batch size: linear, or none where ``rate`` says it.
        shuffle: whether samples come in a random order, or in their own.
        normalization: of what hidden layers give, of their weights, or of the inputs (feature).
        placement: whether what layers give is normalized before or after the activation.
        ghost_batch: samples over which batch normalization takes its statistics.
        loss: what updates follow; results are judged by the problem's own.
        optimizer: in place of the problem's; it needs a rate.
        rate: η of the first parameter group, the others keep their ratio to it; under a schedule the base rate.
        momentum: λ, or Adam's β₁.
        weight_decay: of the parameter groups that decay already; where none does, of all.
        schedule: in place of the problem's.
        warm_up: updates of a straight way up to the rate; without ``schedule`` under the problem's own.
        clip_norm: the norm to which gradients are clipped.
        averaging: of the weights: exponential, or stochastic, the equal mean over the last quarter of the updates.

    Raises:
        InputError: a name or a value is none of these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    updates: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    batch_rule: Annotated[str, _one_of(RULES)] | None = None
    shuffle: bool | None = None
    normalization: Annotated[str, _one_of(NORMALIZATIONS)] | None = None
    placement: Annotated[str, _one_of(PLACEMENTS)] | None = None
    ghost_batch: Annotated[int, Field(ge=2)] | None = None
    loss: Annotated[str, _one_of(LOSSES)] | None = None
    optimizer: Annotated[str, _one_of(OPTIMIZERS)] | None = None
    rate: Annotated[float, Field(gt=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    schedule: Annotated[str, _one_of((*SCHEDULES, *WARMED_UP))] | None = None
    warm_up: Annotated[int, Field(ge=1)] | None = None
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    averaging: Annotated[str, _one_of(AVERAGINGS)] | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, settings: Any, build: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        place: Place = (info.context or {}).get("place", "the recipe's {}".format)
        try:
            return build(settings)
        except ValidationError as error:
            raise InputError("; ".join(_told(each, place) for each in error.errors())) from error

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are not None, by name."""
        return self.model_dump(exclude_none=True)

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the settings that change how the problem is trained, beside for how long and in which order."""
        return tuple(name for name in self.given if name not in ("updates", "epochs", "seed"))

    def overridden(self, settings: Mapping[str, Any]) -> Recipe:
        """This recipe with other settings; updates take the place of epochs, and epochs that of updates."""
        kept = self.given
        if {"updates", "epochs"} & settings.keys():
            kept = {name: value for name, value in kept.items() if name not in ("updates", "epochs")}
        return Recipe(**{**kept, **settings})

    def document(self) -> dict[str, Any]:
        """The settings by their keys in a file."""
        return {name.translate(HYPHENS): value for name, value in self.given.items()}

    def toml(self) -> str:
        """As a recipe file, which :func:`read` takes."""
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.document().items())


def _told(error: ErrorDetails, place: Place) -> str:
    name = ".".join(map(str, error["loc"]))
    where, got = place(name), error["input"]
    if error["type"] == "extra_forbidden":
        known = [field.translate(HYPHENS) for field in Recipe.model_fields]
        return f"{where} is no setting{_meant(name.translate(HYPHENS), known) or ': there are ' + ', '.join(known)}"
    if error["type"] == "name":
        names = error["ctx"]["known"]
        return f"{where} cannot be {got!r}{_meant(got, names)}: it is one of {', '.join(names)}"
    return f"{where} {_plainer(error['msg'])}; got {got!r}"


def _plainer(message: str) -> str:
    """Pydantic's message in the words of the others."""
    for theirs, ours in PLAINER.items():
        message = message.replace(theirs, ours)
    return message


def of_options(options: Mapping[str, Any]) -> Recipe:
    """The recipe that options of the command line make; those that are None were not given."""
    settings = {name: value for name, value in options.items() if value is not None}
    recipe: Recipe = Recipe.model_validate(settings, context={"place": lambda name: f"--{name.translate(HYPHENS)}"})
    return recipe


def read(file: Path) -> Recipe:
    """The recipe of a file.

    Raises:
        InputError: it is missing, is not TOML, or has a key or a value that is none of a recipe's; says in which line.
    """
    try:
        text = file.read_text(encoding="utf-8")
        settings = tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file; give a recipe, a TOML file as `rate = 0.1`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); give a recipe, a TOML file as `rate = 0.1`") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: is not TOML: {error}; write lines as `rate = 0.1`") from error

    def place(name: str) -> str:
        key = name.translate(HYPHENS)
        line = re.search(rf"^\s*[\[\"']*{re.escape(key)}\b", text, re.MULTILINE)
        number = "" if line is None else f", line {text.count(chr(10), 0, line.end()) + 1}"
        return f"{file}{number}: `{key}`"

    recipe: Recipe = Recipe.model_validate(
        {key.translate(HYPHENS): value for key, value in settings.items()}, context={"place": place}
    )
    return recipe

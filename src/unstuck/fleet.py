"""Fleets: K networks with K settings trained at once, θ_k ← θ_k − (η_k/σ_k)·m_k, each as if it were alone.

    members = [Member(rule=adam(rate), batch_size=32, seed=seed) for rate in rates for seed in range(8)]
    fleet = train_fleet(build, loss, inputs, targets, members, updates=500)

Lecture chapters 2 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import vmap

from unstuck.errors import InputError
from unstuck.fleet_network import Named, Network, Rehearsal, SampleLoss, recorded, rehearse
from unstuck.methods.schedule import Constant, Schedule
from unstuck.methods.update import Rule, Setting, stack, start, step
from unstuck.untouched import derived_seed, generators_kept, in_mode, seed_all

LOOK_EVERY = 128
"""Updates between looks at whether any network is left (each look waits for the device)."""

NUMBERS = 2**21
"""Parameters and kept activations of networks that are walked together: as many as a processor has at hand."""

FEWEST = 16
"""Networks so large that fewer than these would fit are walked alone: together they gain little, and may lose."""

RECORDED = 2**14
"""Updates, of all members of a group together, in which the second that it takes to record one is made up for."""

FILLED = 32
"""Samples to which a smaller batch is filled up; larger ones are at most doubled."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One training of a fleet.

    Attributes:
        rule: the method, with its rate and momentum.
        batch_size: samples per update.
        seed: under which the network is built, as after ``torch.manual_seed(seed)``.
        order: seeds the order of the samples; by default ``seed`` does.
        schedule: update → the factor on the rule's rate.
        initial: values by name that parameters start from, in place of those they were built with.
        loss: (outputs, targets) → the loss of each sample, where it is not the fleet's.

    Raises:
        InputError: the batch size is not a positive whole number.
    """

    rule: Rule
    batch_size: int
    seed: int = 0
    order: int | None = None
    schedule: Schedule = Constant()
    initial: Mapping[str, Tensor] | None = None
    loss: SampleLoss | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise InputError(f"`batch_size` of a member must be a positive whole number; got {self.batch_size!r}")


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """K networks that were trained.

    Attributes:
        members: their settings.
        parameters: the trained parameters, shape (K, n); NaN where a member diverged.
        others: running statistics and other buffers, and parameters that are not trained, by name, shape (K, ...).
        losses: of each member's batch just before each update, shape (K, updates); NaN from where it diverged on.
        kept: by the number of updates made until then, the parameters as they were, shape (K, n), and all else by name.
        network: the model as a function of a row of ``parameters``.
        diverged: the first update at which a member's loss, or what it led to, was not finite; None where all were.
    """

    members: tuple[Member, ...]
    parameters: Tensor
    others: Named
    losses: Tensor
    kept: Mapping[int, tuple[Tensor, Named]] = field(repr=False)
    network: Network = field(repr=False)
    diverged: tuple[int | None, ...] = ()

    def at(self, updates: int) -> Fleet:
        """The fleet as it was after so many updates, one of those that were kept."""
        parameters, others = self.kept[updates]
        return replace(self, parameters=parameters, others=others)

    def state(self, member: int) -> Named:
        """A member's parameters and buffers by name: a state dict for a model that is built alike."""
        rest = {name: tensor[member] for name, tensor in self.others.items()}
        return self.network.state(self.network.named(self.parameters[member]), rest)

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        """What each network gives for the inputs in eval mode, shape (K, samples, ...)."""
        inputs = inputs.to(self.parameters.device)
        evaluation = dict.fromkeys(dict(self.network.model.named_modules()), False)
        with in_mode(self.network.model, evaluation):
            return torch.stack([self.network.outputs(self.state(k), {}, inputs) for k in range(len(self.members))])


def epochs(samples: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """The order in which a member meets the samples: of each epoch the indices of its batches, (batches, batch_size).

    Epochs are permutations, without end; samples that do not fill a batch are left out.
    """
    generator = torch.Generator(device="cpu").manual_seed(derived_seed(seed))
    batches = samples // batch_size
    while True:
        order = torch.randperm(samples, generator=generator, device="cpu")
        yield order[: batches * batch_size].view(batches, batch_size)


def train_fleet(
    build: Callable[[], nn.Module],
    loss: SampleLoss,
    inputs: Tensor,
    targets: Tensor,
    members: Sequence[Member],
    updates: int,
    *,
    keep: Collection[int] = (),
) -> Fleet:
    """Train every member for a number of updates on batches of its own; each gets what it would get alone.

    Members are run together by ``vmap``, as many at a time as fit into :data:`NUMBERS`. One that is too large, or whose
    model cannot be run so (dropout, recurrent layers), is walked alone; its random masks are then seeded by its order
    and the update. In long runs the operations of the first update are recorded and repeated: what a model or a loss
    decides by other things than tensors, it decides once. A member that diverges disturbs no other.

    Args:
        build: makes the model, initialized anew by torch's own generator.
        loss: (outputs, targets) → the loss of each sample, shape (samples,); updates follow their mean.
        inputs: of all samples, shape (samples, ...).
        targets: of all samples, shape (samples, ...).
        members: the settings.
        updates: how many.
        keep: numbers of updates after which everything is kept as it is then.

    Raises:
        InputError: sizes do not fit, models are not built alike, or the loss is not one of samples.
    """
    _check(inputs, targets, members, updates)
    with generators_kept(), torch.enable_grad():
        seed_all(members[0].seed)
        network = Network.of(build())
        inputs, targets = inputs.to(network.device), targets.to(network.device)
        crews = _crews(members, loss)
        rehearsals = [
            rehearse(network, crew.loss, inputs, targets, [members[place].batch_size for place in crew.places])
            for crew in crews
        ]
        network = network.training_only(frozenset[str]().union(*(rehearsal.reached for rehearsal in rehearsals)))
        rows, others = _built(network, build, members)
        losses = rows.new_full((len(members), updates), torch.nan)
        kept = {at: (rows.clone(), _copied(others)) for at in sorted(keep)}
        for crew, rehearsal in zip(crews, rehearsals, strict=True):
            course = _Course(network=network, loss=crew.loss, inputs=inputs, targets=targets, seeded=rehearsal.random)
            for group in _groups(crew, members, network.size, rehearsal):
                at = group if len(group) > 1 else group[0]
                part, rest = rows[at].clone(), {name: tensor[at].clone() for name, tensor in others.items()}

                def look(update: int, at: list[int] | int = at, part: Tensor = part, rest: Named = rest) -> None:
                    if update in kept:
                        _put(*kept[update], at, part, rest)

                losses[at] = _walk(course, [members[k] for k in group], part, rest, updates, look)
                _put(rows, others, at, part, rest)
    fleet = Fleet(members=tuple(members), parameters=rows, others=others, losses=losses, kept=kept, network=network)
    return _without_what_diverged(fleet)


def _copied(named: Named) -> Named:
    return {name: tensor.clone() for name, tensor in named.items()}


def _put(rows: Tensor, others: Named, at: list[int] | int, part: Tensor, rest: Named) -> None:
    """Put a group's parameters and all else in its places among those of the whole fleet."""
    rows[at] = part
    for name, tensor in rest.items():
        others[name][at] = tensor


def _check(inputs: Tensor, targets: Tensor, members: Sequence[Member], updates: int) -> None:
    if not members:
        raise InputError("a fleet needs at least one member")
    for name, given in (("inputs", inputs), ("targets", targets)):
        if not isinstance(given, Tensor):
            raise InputError(f"`{name}` of a fleet must be one tensor of all samples; got {type(given).__name__}")
    if len(inputs) != len(targets):
        raise InputError(f"a fleet needs a target for each input; got {len(inputs)} inputs and {len(targets)} targets")
    if not isinstance(updates, int) or updates < 1:
        raise InputError(f"`updates` of a fleet must be a positive whole number; got {updates!r}")
    largest = max(member.batch_size for member in members)
    if largest > len(inputs):
        raise InputError(f"a member's batches of {largest} samples are larger than the whole set of {len(inputs)}")


@dataclass(frozen=True)
class _Crew:
    """The members that minimize one loss, those with the smallest batches first."""

    loss: SampleLoss
    places: tuple[int, ...]


def _crews(members: Sequence[Member], loss: SampleLoss) -> list[_Crew]:
    losses = [loss if member.loss is None else member.loss for member in members]
    places: dict[int, list[int]] = {}
    for place in sorted(range(len(members)), key=lambda place: members[place].batch_size):
        places.setdefault(id(losses[place]), []).append(place)
    return [_Crew(losses[crew[0]], tuple(crew)) for crew in places.values()]


def _groups(crew: _Crew, members: Sequence[Member], parameters: int, rehearsal: Rehearsal) -> Iterator[list[int]]:
    """The members that are walked together, by sizes alone, so that the same ones are on every machine."""
    alike: list[list[int]] = []
    largest = 0
    for place in crew.places:
        size = members[place].batch_size
        if size > largest:
            alike.append([])
            largest = max(FILLED, 2 * size) if rehearsal.filled else size
        alike[-1].append(place)
    for places in alike:
        numbers = parameters + members[places[-1]].batch_size * rehearsal.numbers
        room = int(NUMBERS / numbers) if rehearsal.together and numbers <= NUMBERS / FEWEST else 1
        evenly = math.ceil(len(places) / math.ceil(len(places) / room))
        yield from (places[start : start + evenly] for start in range(0, len(places), evenly))


def _built(network: Network, build: Callable[[], nn.Module], members: Sequence[Member]) -> tuple[Tensor, Named]:
    """The members' own beginnings: rows of trained parameters, shape (K, n), and all else by name, shape (K, ...)."""
    rows: list[Tensor] = []
    others: list[Named] = []
    for member in members:
        seed_all(member.seed)
        row, rest = network.split(build())
        held = network.named(row) | rest
        for name, value in (member.initial or {}).items():
            if name not in held or held[name].shape != value.shape:
                raise InputError(
                    f"`initial` of a member gives `{name}` in shape {tuple(value.shape)}, but the model holds "
                    + ", ".join(f"`{own}` {tuple(tensor.shape)}" for own, tensor in held.items())
                )
            held[name].copy_(value)
        rows.append(row)
        others.append(rest)
    return torch.stack(rows), {name: torch.stack([rest[name] for rest in others]) for name in others[0]}


@dataclass(frozen=True, kw_only=True)
class _Course:
    """What the members of a group have in common.

    Attributes:
        seeded: whether random masks are drawn, by a generator that is then seeded before each update.
    """

    network: Network
    loss: SampleLoss
    inputs: Tensor
    targets: Tensor
    seeded: bool


def _walk(
    course: _Course,
    members: Sequence[Member],
    rows: Tensor,
    others: Named,
    updates: int,
    look: Callable[[int], None],
) -> Tensor:
    """Walk a group, or one member alone, in place; gives the losses, shape (k, updates), or (updates,) of one alone.

    Args:
        course: what is common.
        members: the k settings.
        rows: trained parameters, shape (k, n), or (n,).
        others: all else by name, shape (k, ...), or (...).
        updates: how many; fewer are made where none has a finite loss.
        look: called with the number of updates made, before the first and after each.
    """
    together = rows.shape[:-1]
    network = course.network.for_many() if together else course.network
    rule = stack([member.rule for member in members], device=rows.device)
    rates = _rates(members, updates, rows.device)
    state = start(rule, rows)
    leaves = network.leaves(rows)
    gradient = torch.empty_like(rows)
    pieces = network.named(gradient)
    shares = _shares(members, rows)
    alone = partial(network.loss, course.loss)
    run = vmap(alone) if together else alone
    orders = _orders(members, len(course.inputs), min(updates, LOOK_EVERY))
    losses = rows.new_full((updates, *together), torch.nan)
    look(0)
    for update in range(updates):
        if update % LOOK_EVERY == 0:
            if update > 0 and not bool(losses[update - 1].isfinite().any()):
                break
            order = next(orders).to(rows.device)
        if course.seeded:
            seed_all(derived_seed(_order_of(members[0]), update))
        drawn = order[update % LOOK_EVERY]
        batch = [data.index_select(0, drawn).unflatten(0, (*together, -1)) for data in (course.inputs, course.targets)]
        if update == 0 and together and len(members) * updates >= RECORDED:
            run = recorded(run, leaves, others, *batch, *shares)
        found = run(leaves, others, *batch, *shares)
        slopes = torch.autograd.grad(found, list(leaves.values()), torch.ones_like(found), materialize_grads=True)
        for piece, slope in zip(pieces.values(), slopes, strict=True):
            piece.copy_(slope)
        losses[update] = found.detach()
        rows, state = step(rule, state, rows, gradient, rate=rates[update])
        look(update + 1)
    return losses.movedim(0, -1)


def _order_of(member: Member) -> int:
    return member.seed if member.order is None else member.order


def _orders(members: Sequence[Member], samples: int, count: int) -> Iterator[Tensor]:
    """Indices of the samples of the next ``count`` updates, shape (count, k · batch), again and again.

    A member with a smaller batch fills it up with its first sample, which is then not counted.
    """
    sources = [epochs(samples, member.batch_size, _order_of(member)) for member in members]
    rest = [next(source) for source in sources]
    largest = max(member.batch_size for member in members)
    while True:
        drawn = torch.empty(count, len(members), largest, dtype=torch.int64, device="cpu")
        for k, (member, source) in enumerate(zip(members, sources, strict=True)):
            own, filled = drawn[:, k].split([member.batch_size, largest - member.batch_size], dim=1)
            missing = own
            while len(missing) > len(rest[k]):
                missing[: len(rest[k])] = rest[k]
                missing, rest[k] = missing[len(rest[k]) :], next(source)
            missing[:], rest[k] = rest[k][: len(missing)], rest[k][len(missing) :]
            filled[:] = own[:, :1]
        yield drawn.flatten(1)


def _rates(members: Sequence[Member], updates: int, device: torch.device) -> Sequence[Setting]:
    """η_t of each update: a number where it is the same for all, else of shape (k, 1)."""
    schedules = {id(member.schedule): member.schedule for member in members}
    factors = {
        key: torch.tensor([schedule(update) for update in range(updates)], dtype=torch.float64, device=device)
        for key, schedule in schedules.items()
    }
    table = torch.stack([float(member.rule.rate) * factors[id(member.schedule)] for member in members], dim=1)
    alike = bool((table == table[:, :1]).all())
    return table[:, 0].tolist() if alike else list(table[:, :, None])


def _shares(members: Sequence[Member], rows: Tensor) -> tuple[Tensor, ...]:
    """The share of each sample in the mean, shape (k, batch), nothing for those that fill up; () where none does."""
    sizes = [member.batch_size for member in members]
    if min(sizes) == max(sizes):
        return ()
    own = torch.tensor(sizes, device=rows.device)[:, None]
    counted = torch.arange(max(sizes), device=rows.device) < own
    return (counted.to(rows.dtype) / own,)


def _without_what_diverged(fleet: Fleet) -> Fleet:
    """The fleet with what came after a loss or a parameter that was not finite taken out, in place."""
    rows, losses, count = fleet.parameters, fleet.losses, fleet.losses.shape[1]
    lasted = losses.isfinite().long().cumprod(1).sum(1)
    lasted = torch.where(rows.isfinite().all(1), lasted, lasted.clamp_max(count - 1))
    losses[torch.arange(count, device=losses.device) >= lasted[:, None]] = torch.nan
    rows[lasted < count] = torch.nan
    for updates, (parameters, _) in fleet.kept.items():
        parameters[lasted < updates] = torch.nan
    return replace(fleet, diverged=tuple(updates if updates < count else None for updates in lasted.tolist()))

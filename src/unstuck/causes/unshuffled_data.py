"""Unshuffled data: batches are no samples of the data.

What it means: data that are sorted come class by class, or file by file; every update unlearns what the ones before
have learned, and normalization takes its statistics of one kind at a time. How it shows: what batches hold differs by
more than chance allows, and by much; the loss may come and go with the period of an epoch. What is mistaken for it:
samplers that balance classes, whose batches are more alike than chance makes them; the epoch's last, smaller batch;
gradient noise, which shuffling does not cure. What to do: shuffle. References: Bottou 2010, Large-scale machine
learning with stochastic gradient descent, §2; LeCun et al. 1998, Efficient BackProp, §4.2.
"""

from __future__ import annotations

from unstuck.cause import Cause, Evidence, Judgement, Mediator
from unstuck.probes.order import SIGNIFICANT, OrderReading
from unstuck.reading import History
from unstuck.remedies.shuffle import Shuffle
from unstuck.specimens import bowl, healthy, sorted_data


def judge(order: History[OrderReading]) -> Judgement:
    """A fact about the loader; whether it hurts is for the trial to show."""
    differs = not order.first.sampled
    return Judgement(score=0.9 if differs else 0.0, evidence=_evidence(order.first), certain=differs)


def _evidence(reading: OrderReading) -> tuple[Evidence, ...]:
    varies = {True: "another one every epoch", False: "the same one every epoch", None: "as it was recorded"}
    shares = {"targets": reading.target_share, "inputs": reading.input_share}
    shown = "; ".join(f"of the {name}' variance {share:.2g}" for name, share in shares.items() if share is not None)
    found = [
        Evidence(
            reading="order",
            update=reading.update,
            value=reading.excess,
            unit="of chance",
            expected="about 1",
            says=f"batches differ {reading.excess:.3g} times as much as random ones would (between them lies "
            f"{shown or 'nothing that can be told'}, by chance {reading.expected_share:.2g}); their order is "
            f"{varies[reading.varies]}",
        )
    ]
    if reading.repeated_p <= SIGNIFICANT:
        found.append(
            Evidence(
                reading="order",
                update=reading.update,
                value=reading.repeated_together,
                unit="of the samples",
                expected=f"about {reading.expected_together:.2g}",
                says=f"{reading.repeated_together:.1%} of the samples equal another one of their own batch, by chance "
                f"{reading.expected_together:.1%} would",
            )
        )
    return tuple(found)


UNSHUFFLED_DATA = Cause(
    slug="unshuffled-data",
    means="batches are no samples of the data: it comes in an order of its own",
    chapter=0,
    judge=judge,
    mediator=Mediator(
        says="how many times as much as random batches these differ",
        reads=OrderReading,
        value=lambda order: order.excess,
        rises=False,
    ),
    remedies=(Shuffle,),
    sick=(sorted_data,),
    well=(healthy, bowl),
)

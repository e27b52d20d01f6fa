"""The figures of the ward as tables and pictures: what the page and the results in Markdown are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

import plotly.graph_objects as go

from unstuck import plot
from unstuck.ledger import Row
from unstuck.page import Table
from unstuck.ward import controls as beside
from unstuck.ward import design, scores
from unstuck.ward.scores import Diagnosed, grouped, share

NONE = "–"

SHARES = ((0, "#d3e6f4"), (1, plot.COLOURS["accent"]))
"""From a little to all of a row; what never happened has no colour."""


def _splits(cases: Sequence[Diagnosed]) -> dict[str, list[Diagnosed]]:
    """The parts that figures are given for."""
    parts = {
        "calibration": [case for case in cases if design.part_of(case.case) == "calibration"],
        "held out": [case for case in cases if design.part_of(case.case) == "held-out"],
    }
    held_out = parts["held out"]
    return parts | {
        "of it, unseen kinds": [case for case in held_out if set(case.case.kinds) & set(design.UNSEEN_KINDS)],
        "of it, unseen hosts": [case for case in held_out if case.case.host in design.UNSEEN_HOSTS],
    }


def figures(cases: Sequence[Diagnosed], rows: Sequence[Row]) -> Table:
    """The figures to reach, by part."""
    parts = _splits(cases)
    lines = [(figure.name, figure.aim, *(figure.measure(part) for part in parts.values())) for figure in scores.FIGURES]
    rates = ("rates within 2 × or 5 % of the grid's best", "≥ 95 %")
    lines.append((*rates, *(str(beside.rates_right(part, rows)) for part in parts.values())))
    bins = (scores.reliability(part) for part in parts.values())
    errors = (f"{scores.calibration_error(each):.2f}" if each else NONE for each in bins)
    lines.append(("expected calibration error", NONE, *errors))
    return Table(
        caption="Figures to reach; shares with their counts and 95 % intervals (Wilson)",
        header=("figure", "aim", *parts),
        rows=tuple(lines),
    )


def controls(cases: Sequence[Diagnosed], rows: Sequence[Row]) -> Table:
    """What they reach who do not look, beside the tool."""
    seen = [case for case in cases if design.part_of(case.case) == "calibration"]
    ours = beside.Control(
        name="unstuck",
        right=share(grouped(cases, "faulty"), lambda case: case.right),
        alarms=share(grouped(cases, "healthy"), lambda case: case.false_alarm),
    )
    lines = [(each.name, str(each.right), str(each.alarms), NONE, NONE) for each in beside.controls(cases, seen)]
    search = beside.search(cases, rows)
    cured, spent = NONE, NONE
    if search is not None:
        cured, spent = f"{search.ours:.0%} of {search.cases}", f"{search.our_updates:,.0f}"
        lines.append(
            ("random remedy, as many arms", NONE, NONE, f"{search.equal:.0%} of {search.cases}", spent),
        )
        lines.append(("random remedies, to the same share", NONE, NONE, cured, f"{search.updates:,.0f}"))
    return Table(
        caption="Beside those who do not look",
        header=("who", "cause named first", "false alarms", "cured", "updates of trials"),
        rows=((ours.name, str(ours.right), str(ours.alarms), cured, spent), *lines),
    )


def by(cases: Sequence[Diagnosed], name: str, key: Callable[[Diagnosed], str]) -> Table:
    """The faulty cases by something that they share."""
    found = grouped(cases, "faulty")
    lines = []
    for value in dict.fromkeys(sorted(map(key, found))):
        these = [case for case in found if key(case) == value]
        curable = [case for case in these if case.curable]
        wrong = Counter(case.result["cause"] for case in these if not case.right)
        lines.append(
            (
                value,
                ", ".join(dict.fromkeys(case.case.faults[0].cause for case in these)) if name == "kind" else NONE,
                str(share(these, lambda case: case.right)),
                str(share(these, lambda case: case.right_in_two)),
                f"{fmean(min(1.0, max(0.0, case.closed)) for case in curable):.0%}" if curable else NONE,
                ", ".join(f"{cause} {count}" for cause, count in wrong.most_common(3)) or NONE,
            )
        )
    header = (name, "planted", "named first", "in the first two", "gap closed, mean", "named instead")
    return Table(caption=f"Faults by {name}", header=header, rows=tuple(lines))


def healthy(cases: Sequence[Diagnosed]) -> Table:
    """The healthy cases by kind."""
    found = grouped(cases, "healthy")
    lines = []
    for kind in dict.fromkeys(case.case.kinds[0] for case in found):
        these = [case for case in found if case.case.kinds[0] == kind]
        wrong = Counter(case.result["cause"] for case in these if not case.right)
        named = ", ".join(f"{cause} {count}" for cause, count in wrong.most_common()) or NONE
        lines.append((kind, str(share(these, lambda case: case.right)), named))
    return Table(caption="Healthy trainings", header=("kind", "called healthy", "named instead"), rows=tuple(lines))


def failures(cases: Iterable[Diagnosed]) -> Table:
    """Every case whose diagnosis is wrong."""
    lines = [
        (
            case.case.name,
            " + ".join(accepted[0] for accepted in case.case.accepted),
            case.result["cause"],
            ", ".join(f"{cause} {score:.2f}" for cause, score in case.result["signals"].items()) or NONE,
            ", ".join(
                f"{trial['remedy']}: {trial['verdict']}" for trial in case.result["trials"] if trial["arm"] == "remedy"
            )
            or NONE,
        )
        for case in cases
        if not (case.both_named if case.case.group == "double" else case.right)
    ]
    header = ("case", "planted", "named", "signals", "trials")
    return Table(caption="Every case whose diagnosis is wrong", header=header, rows=tuple(lines))


def draw_confusion(cases: Sequence[Diagnosed]) -> go.Figure:
    """Planted causes down, named ones across; each row adds up to one."""
    found = scores.confusion(cases)
    planted = sorted({pair[0] for pair in found}, reverse=True)
    named = [*sorted(set(planted) | {pair[1] for pair in found if pair[1] != scores.NO_ANSWER}), scores.NO_ANSWER]
    totals = {cause: sum(count for pair, count in found.items() if pair[0] == cause) for cause in planted}
    counts = [[found.get((cause, answer), 0) for answer in named] for cause in planted]
    right = sum(count for (cause, answer), count in found.items() if cause == answer)
    figure = plot.figure(
        title="Planted causes and those that are named",
        x="named",
        y="planted",
        summary=f"{right} of {sum(found.values())} diagnoses are on the diagonal, where an accepted answer stands as "
        "the planted one. Colour is the share of a row.",
    )
    figure.add_heatmap(
        x=named,
        y=[f"{cause} ({totals[cause]})" for cause in planted],
        z=[[count / totals[cause] or None for count in row] for cause, row in zip(planted, counts, strict=True)],
        text=[[str(count or "") for count in row] for row in counts],
        texttemplate="%{text}",
        hovertemplate="%{y}: named %{x}, %{text}<extra></extra>",
        colorscale=SHARES,
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        showscale=False,
    )
    figure.update_xaxes(tickangle=-45, dtick=1)
    figure.update_yaxes(dtick=1)
    figure.update_layout(height=200 + 26 * len(planted))
    return figure


def draw_reliability(cases: Sequence[Diagnosed]) -> go.Figure:
    """How often diagnoses of a confidence are right, beside how often they should be."""
    bins = scores.reliability(cases)
    error = scores.calibration_error(bins)
    figure = plot.figure(
        title="Confidence and how often it is right",
        x="confidence",
        y="share of right diagnoses",
        summary=f"On the line, confidence is what it says. The expected calibration error is {error:.2f}.",
    )
    plot.line(figure, [0, 1], [0, 1], name="as it should be", role="untouched")
    plot.line_with_spread(
        figure,
        [each.confidence for each in bins],
        [each.right.value for each in bins],
        [each.right.interval.low for each in bins],
        [each.right.interval.high for each in bins],
        name="found",
        role="treated",
    )
    figure.update_yaxes(range=[0, 1])
    return figure

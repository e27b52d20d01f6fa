"""Report documents as the stages write them, with numbers that belong together, for the tests of the page."""

import copy
from typing import Any

import numpy as np
from tests.page.sample_figures import UPDATES, sample_figures

Document = dict[str, Any]

UNTOUCHED = (1.942, 1.871, 2.015)  # its loss at the end, under three orders of the data


def diagnosis_document(name: str = "digits-mlp") -> Document:
    """A learning rate that is too high: found, tried, cured."""
    return {
        "schema": 1,
        "tool": {"name": "unstuck", "version": "0.1.0"},
        "problem": _problem(name),
        "diagnosis": {
            "cause": "learning-rate-too-high",
            "confidence": 0.93,
            "proof": "proved",
            "summary": (
                "The learning rate is too high: each step overshoots the valley it is in, "
                "and a tenth of the rate removes 94 % of the excess loss."
            ),
            "candidates": ["learning-rate-too-high", "gradient-noise"],
            "decided_by": "its own signal and the gain of its remedy, which the opposite change reversed",
            "proofs": _proofs(),
        },
        "findings": _findings(),
        "trials": _trials(),
        "prescription": _prescription(),
        "readings": _readings(),
        "figures": sample_figures(name),
        "notes": [
            "One forward hook of the caller's model was left off the copies: log_activations on body.2.",
            "Dropout masks were replayed, so that every arm saw the same ones.",
        ],
        "cost": {"gradient_evaluations": 4180, "updates": 5040, "seconds": 97.4},
    }


def healthy_document() -> Document:
    """Nothing is wrong, so nothing was tried and nothing is prescribed."""
    document = diagnosis_document("digits-mlp-well")
    document["diagnosis"] = {
        "cause": "healthy",
        "confidence": 0.78,
        "proof": "likely",
        "summary": "Nothing is wrong: the loss still falls, and no reading is out of its range.",
        "candidates": [],
        "decided_by": "no cause shows its own signal, so there was nothing to try",
    }
    for finding in document["findings"]:
        finding["score"] = round(finding["score"] / 10, 3)
    return document | {"trials": [], "prescription": None, "figures": {}, "notes": []}


def measure_document() -> Document:
    """Readings and pictures only."""
    full = diagnosis_document()
    kept = {key: full[key] for key in ("schema", "tool", "problem", "readings", "cost")}
    of_trials = ("trials", "mediator", "dose-response")
    figures = {key: value for key, value in full["figures"].items() if key not in of_trials}
    return kept | {"figures": figures}


def train_document() -> Document:
    """A training with its curve; there is no validation set."""
    full = diagnosis_document()
    kept = {key: copy.deepcopy(full[key]) for key in ("schema", "tool", "problem", "cost")}
    curve = [
        {
            "update": int(update),
            "loss": 2.3 * float(np.exp(-update / 60)) + 0.05,
            "rate": 0.08 * (1 - update / 300),
            "gradient_norm": 1.5 * float(np.exp(-update / 90)),
        }
        for update in UPDATES
    ]
    final = {"train_loss": 0.0912, "valid_loss": None, "train_accuracy": 0.981, "valid_accuracy": None}
    recipe = {"updates": 5_040, "seed": 0, "optimizer": "adam", "rate": 0.001, "warm-up": 100}
    return kept | {"recipe": recipe, "final": final, "curve": curve}


def _proofs() -> list[Document]:
    outcomes = {
        "control": ("passed", "under 3 data orders it removes 94 % of the excess loss"),
        "re-planting": ("failed", "put back after 20 updates, it costs 3 % of the gain"),
        "mediator": ("not applicable", "no probe reads what it works through"),
        "dose-response": ("not run", "the budget does not hold it"),
    }
    return [
        {"element": element, "outcome": outcome, "expected": f"{element} as foretold", "says": says, "numbers": {}}
        for element, (outcome, says) in outcomes.items()
    ]


def _problem(name: str) -> Document:
    return {
        "name": name,
        "parameters": 12_810,
        "samples": 1_437,
        "batch_size": 32,
        "optimizer": "SGD",
        "target": "examples/digits.py:problem",
    }


def _evidence(reading: str, update: int | None, value: float | None, unit: str, expected: str, says: str) -> Document:
    return {
        "reading": reading,
        "update": update,
        "value": value,
        "unit": unit,
        "expected": expected,
        "says": says,
    }


def _finding(
    cause: str,
    chapter: int,
    score: float,
    means: str,
    *evidence: Document,
    unknown_because: str | None = None,
    advice: str = "",
) -> Document:
    return {
        "cause": cause,
        "means": means,
        "chapter": chapter,
        "score": score,
        "unknown_because": unknown_because,
        "advice": advice,
        "evidence": list(evidence),
    }


def _findings() -> list[Document]:
    return [
        _finding(
            "learning-rate-too-high",
            3,
            0.96,
            "the steps bounce between the walls of a valley instead of walking along it",
            _evidence(
                "spectrum",
                120,
                37.41,
                "",
                "below 3.8",
                "The rate times the largest eigenvalue is 9.8 times the stability limit of this optimizer, 2(1 + β)/η.",
            ),
            _evidence(
                "direction",
                120,
                -0.618,
                "cosine",
                "above −0.2",
                "Successive gradients point against each other: the walk crosses the valley and back.",
            ),
            _evidence(
                "step",
                120,
                0.074,
                "step lengths",
                "0.5 to 2",
                "Along the update the loss is lowest after 7 % of the step and higher than before it after 15 %.",
            ),
            _evidence(
                "gradient",
                120,
                1.83,
                "loss / unit",
                "falling",
                "The gradient is not small, so this is no critical point.",
            ),
        ),
        _finding(
            "gradient-noise",
            2,
            0.41,
            "steps are dominated by noise",
            _evidence("noise", 120, 5.1e2, "samples", "below 320", "The noise scale is 16 batches."),
        ),
        _finding(
            "ill-conditioned",
            3,
            0.22,
            "no single rate suits all directions",
            _evidence(
                "spectrum",
                120,
                1.27e4,
                "",
                "below 10⁴",
                "The largest eigenvalue is 12,700 times the typical one.",
            ),
        ),
        _finding(
            "saddle-point",
            1,
            0.03,
            "the gradient is negligible and the surface still falls along some direction",
            _evidence("gradient", 120, 1.83, "loss / unit", "below 0.002", "The gradient is far from zero."),
        ),
        _finding("dead-units", 0, 0.0, "most units of a layer are off or saturated"),
        _finding(
            "overfitting",
            0,
            0.0,
            "training goes on, held-out loss has turned",
            unknown_because="there is no validation set",
            advice="Hand over held-out data as `valid`, so that this can be judged.",
        ),
        _finding(
            "non-finite",
            0,
            0.0,
            "NaN or infinity",
            _evidence("finite", 120, None, "", "finite", "The opposite arm left the finite numbers.")
            | {"non_finite": True},
            unknown_because="only the arm with ten times the rate was not finite",
        ),
    ]


def _trial(
    arm: str, remedy: str | None, settings: Document, per_seed: list[float | None], verdict: str, because: str
) -> Document:
    """One arm; its interval is Student's, of the untouched arm's loss minus its own."""
    trial: Document = {
        "arm": arm,
        "remedy": remedy,
        "settings": settings,
        "cause": None if remedy is None else "learning-rate-too-high",
        "from_update": 120,
        "updates": 900,
        "measure": "train_loss",
        "per_seed": per_seed,
        "half_per_seed": per_seed,
        "verdict": verdict,
        "because": because,
    }
    finite = [value for value in per_seed if value is not None]
    if len(finite) < len(per_seed):
        return trial | {"mean": None, "interval": [-3.5, -0.9], "non_finite": True}
    difference = np.subtract(UNTOUCHED, finite)
    reach = 4.303 * difference.std(ddof=1) / np.sqrt(len(finite))  # 95 %, two degrees of freedom
    interval = [float(difference.mean() - reach), float(difference.mean() + reach)]
    return trial | {"mean": float(np.mean(finite)), "interval": interval}


def _trials() -> list[Document]:
    lower, decay, larger, more = (
        "lower-learning-rate",
        "decay-learning-rate",
        "larger-batch",
        "raise-learning-rate",
    )
    again = "the same recipe under other data orders: the noise that a difference has to exceed"
    return [
        _trial("untouched", None, {}, [*UNTOUCHED], "reference", "what every other arm is compared with"),
        _trial("a/a", None, {}, [1.958, 1.902, 1.967], "reference", again),
        _trial("remedy", lower, {"factor": 0.1}, [0.118, 0.131, 0.109], "better", "it removes 94% of the excess loss"),
        _trial("remedy", decay, {"over": 120}, [0.583, 0.702, 0.641], "better", "it removes 67% of the excess loss"),
        _trial(
            "remedy", larger, {"batch_size": 512}, [1.884, 1.913, 1.79], "same", "the difference is within the noise"
        ),
        _trial("opposite", more, {"factor": 2}, [2.61, 2.94, 2.77], "worse", "0.831 above the untouched arm"),
        _trial("opposite", more, {"factor": 10}, [None] * 3, "failed", "the loss stopped being finite"),
    ]


def _prescription() -> Document:
    return {
        "from_update": 120,
        "steps": [
            {
                "remedy": "lower-learning-rate",
                "settings": {"factor": 0.1},
                "says": "Divide the learning rate by ten.",
                "diff": (
                    "--- examples/digits.py\n"
                    "+++ examples/digits.py\n"
                    "@@ the optimizer @@\n"
                    " model = build()\n"
                    "-optimizer = torch.optim.SGD(model.parameters(), lr=0.8, momentum=0.9)\n"
                    "+optimizer = torch.optim.SGD(model.parameters(), lr=0.08, momentum=0.9)\n"
                ),
            },
            {
                "remedy": "normalize-inputs",
                "settings": {"mean": "per feature", "deviation": "per feature"},
                "says": "After the cure a second fault showed: the inputs are not normalized.",
                "diff": (
                    "+inputs_mean, inputs_deviation = inputs.mean(0), inputs.std(0).clamp_min(1e-6)\n"
                    "-outputs = model(inputs)\n"
                    "+outputs = model((inputs - inputs_mean) / inputs_deviation)\n"
                ),
            },
        ],
        "remedy": "lower-learning-rate",
        "gain": {"fraction": 0.944, "interval": [1.62, 2.03], "says": "it removes 94% of the excess loss"},
    }


def _reading(title: str, update: int, settings: Document, numbers: list[tuple[Any, ...]], **rest: Any) -> Document:
    """A reading of (name, value, error, unit, meaning), which the report keeps apart."""
    values = {name: value for name, value, *_ in numbers}
    return {
        "title": title,
        "update": update,
        "settings": settings,
        "values": values | ({"non_finite": True} if None in values.values() else {}),
        "error": {name: error for name, _, error, _, _ in numbers if error is not None},
        "units": {name: unit for name, _, _, unit, _ in numbers if unit},
        "says": {name: says for name, _, _, _, says in numbers},
        "notes": [],
    } | rest


def _readings() -> Document:
    spectrum = [
        _reading(
            "The curvature around the point",
            update,
            {"top": 5, "engine": "lanczos"},
            [
                ("highest", highest, 0.013, "loss / unit²", "the largest eigenvalue of the Hessian"),
                ("lowest", -0.83214, 0.021, "loss / unit²", "the smallest"),
                ("minimum_ratio", 0.871, [0.85, 0.89], "", "positive eigenvalues over all"),
                ("largest", [highest, 12.1, 9.98, 4.2, 1.7], None, "loss / unit²", "the five largest"),
            ],
            samples=1024,
            cost={"gradient_evaluations": 40, "updates": 0, "seconds": 1.25},
            notes=["The largest eigenvalue had not settled."] if update == 120 else [],
        )
        for update, highest in ((0, 4.123), (40, 19.87), (120, 46.7612))
    ]
    noise = _reading(
        "The noise of the gradient",
        120,
        {"small": 32, "large": 1024},
        [
            ("noise_scale", 512.3, 41.0, "samples", "the batch at which noise and signal are alike"),
            ("gradient_square", 3.35e-5, 2.1e-6, "loss² / unit²", "of the gradient over all data"),
            ("trace", None, None, "loss² / unit²", "of the covariance of the gradient"),
        ],
        samples=1437,
        cost={"gradient_evaluations": 96, "updates": 0, "seconds": 0.4},
    )
    return {"spectrum": spectrum, "noise": [noise]}

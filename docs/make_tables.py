"""Write the table *lecture → command → module → study* into the READMEs, from the chapter that each part carries.

python docs/make_tables.py            write
python docs/make_tables.py --check    say whether they are current; exit code 1 if not
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from unstuck import causes, methods, probes, remedies, surgery

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- lecture table: made by docs/make_tables.py -->", "<!-- end of lecture table -->"

CHAPTERS = {
    1: ("1 critical points", "1 临界点 (critical points)"),
    2: ("2 batch and momentum", "2 批次与动量 (batch and momentum)"),
    3: ("3 learning rate", "3 学习率 (learning rate)"),
    4: ("4 loss", "4 损失函数 (loss)"),
    5: ("5 normalization", "5 归一化 (normalization)"),
    0: ("0 beyond the lecture", "0 讲义之外 (beyond the lecture)"),
}

WORDS = {
    "en": (
        "lecture chapter (讲义)",
        "command",
        "module",
        "study",
        "not yet",
    ),
    "zh": ("讲义章节", "命令", "模块", "实验", "尚未实现"),
}

PLANNED = {
    "probes": {
        1: ("density", "trace", "sharpness", "landscape"),
        2: ("anatomy", "noise", "batch-time"),
        5: ("activations", "modes"),
        0: ("layers", "order", "generalization"),
    },
    "causes": {
        1: ("local-minimum",),
        2: ("gradient-noise", "batch-too-large"),
        3: ("ill-conditioned", "unstable-start"),
        5: ("vanishing-gradient", "exploding-gradient", "dead-units", "train-eval-mismatch"),
        0: ("no-signal", "overfitting", "over-regularized", "unshuffled-data"),
    },
    "remedies": {
        2: ("larger-batch", "smaller-batch", "layerwise-scaling", "weight-averaging"),
        3: ("adaptive-optimizer", "warm-up", "scale-rate-with-warm-up"),
        5: ("add-normalization", "recalibrate-batch-norm"),
        0: ("regularize", "early-stop", "reduce-regularization", "shuffle"),
    },
    "studies": {
        1: ("critical-point", "minimum-ratio", "saddles-and-index", "spectrum-during-training", "loss-landscape"),
        2: ("batch-time", "batch-accuracy", "sharp-minima", "critical-batch", "large-batch", "momentum"),
        3: ("learning-rate studies",),
        4: ("loss studies",),
        5: ("normalization studies",),
    },
}
"""The fixed vocabulary that the design names; what is registered is taken out of it by name."""

COMMANDS = {
    "methods": "`unstuck train TARGET --help`",
    "probes": "`unstuck measure TARGET PROBE`",
    "causes": "`unstuck diagnose TARGET`",
    "remedies": "`unstuck train TARGET --prescription FILE`",
}


def built() -> dict[str, dict[int, list[tuple[str, str]]]]:
    """Kind → chapter → (name, module file) of everything registered."""
    found: dict[str, dict[int, list[tuple[str, str]]]] = {kind: {} for kind in COMMANDS}

    def keep(kind: str, chapter: int, name: str, module: str) -> None:
        found[kind].setdefault(chapter, []).append((name, f"src/{module.replace('.', '/')}.py"))

    for package in (methods, surgery):
        for _, name, _ in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{name}")
            for chapter in chapters_of(module.__doc__ or ""):
                keep("methods", chapter, name.replace("_", "-"), module.__name__)
    for probe in probes.ALL:
        keep("probes", probe.reads.chapter, probe.reads.probe, probe.__module__)
    for cause in causes.ALL:
        keep("causes", cause.chapter, cause.slug, cause.judge.__module__)
    for remedy in remedies.ALL:
        keep("remedies", remedy.chapter, remedy.slug, remedy.__module__)
    return found


def chapters_of(docstring: str) -> list[int]:
    """The chapters that a module of methods says it belongs to."""
    said = re.search(r"Lecture chapters? ([\d, and]+)", docstring)
    return [] if said is None else [int(number) for number in re.findall(r"\d", said[1])]


def rows(language: str) -> Iterable[str]:
    """The table's lines in Markdown."""
    chapter_word, command_word, module_word, study_word, not_yet = WORDS[language]
    yield f"| {chapter_word} | {command_word} | {module_word} | {study_word} |"
    yield "| --- | --- | --- | --- |"
    parts = built()
    for chapter, names in CHAPTERS.items():
        studies = ", ".join(PLANNED["studies"].get(chapter, ()))
        study = f"{not_yet}: {studies}" if studies else "—"
        title = names[language == "zh"]
        for kind, command in COMMANDS.items():
            have = parts[kind].get(chapter, [])
            missing = [n for n in PLANNED.get(kind, {}).get(chapter, ()) if n not in {name for name, _ in have}]
            modules = ", ".join(f"[{name}]({module})" for name, module in have)
            waiting = f"{not_yet}: {', '.join(missing)}" if missing else ""
            if modules or waiting:
                cell = "; ".join(part for part in (modules, waiting) if part)
                yield f"| {title} | {command} | {cell} | {study} |"
                title, study = "", ""


def with_table(text: str, language: str) -> str:
    """The README with its table made anew."""
    before, rest = text.split(START)
    after = rest.split(END)[1]
    return before + START + "\n" + "\n".join(rows(language)) + "\n" + END + after


def main() -> int:
    """Write or check both READMEs."""
    stale = []
    for language, name in (("en", "README.md"), ("zh", "README.zh.md")):
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        made = with_table(text, language)
        if made != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(made, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"{', '.join(stale)}: the lecture table is not current; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

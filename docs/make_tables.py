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

from unstuck import causes, methods, probes, remedies, studies, surgery

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
    1: ("critical-point", "minimum-ratio", "saddles-and-index", "spectrum-during-training", "loss-landscape"),
    2: ("batch-time", "batch-accuracy", "sharp-minima", "critical-batch", "large-batch", "momentum", "gradient-norm"),
    3: ("valley", "edge-of-stability", "adaptive-rates", "schedules", "warm-up", "optimizers"),
    4: ("loss-surface",),
    5: (
        *("feature-normalization", "batch-normalization", "batch-normalization-cnn", "covariate-shift"),
        "normalizations",
    ),
}
"""The studies that there are to be; what is registered is taken out by name."""

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
        study = studies_of(chapter, not_yet)
        title = names[language == "zh"]
        for kind, command in COMMANDS.items():
            modules = ", ".join(f"[{name}]({module})" for name, module in parts[kind].get(chapter, []))
            if modules:
                yield f"| {title} | {command} | {modules} | {study} |"
                title, study = "", ""


def studies_of(chapter: int, not_yet: str) -> str:
    """The studies of a chapter, and those that are still to come."""
    have = [study.name for study in studies.ALL if study.chapter == chapter]
    links = [f"[{name}](src/unstuck/studies/{name.replace('-', '_')}.py)" for name in have]
    missing = [name for name in PLANNED.get(chapter, ()) if name not in {study.name for study in studies.ALL}]
    waiting = [f"{not_yet}: {', '.join(missing)}"] if missing else []
    return "; ".join([*([", ".join(links)] if links else []), *waiting]) or "—"


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

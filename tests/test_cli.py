"""The command line: what it writes where, its exit codes, and that help comes at once."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.targets import TARGETS

from unstuck import cli
from unstuck.methods.batch import RULES
from unstuck.methods.loss import LOSSES
from unstuck.methods.optimizers import OPTIMIZERS
from unstuck.methods.schedule import SCHEDULES
from unstuck.recipe import AVERAGINGS, PLACEMENTS, Recipe
from unstuck.surgery.insertion import NORMALIZATIONS

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of targets."""
    made = tmp_path_factory.mktemp("work")
    (made / "targets.py").write_text(TARGETS, encoding="utf-8")
    return made


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in that folder, with the module of targets loaded anew each time."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("targets", None)


@pytest.fixture(scope="module")
def diagnosed(folder: Path) -> tuple[str, str, Path]:
    """What ``unstuck diagnose`` of a half-wired classifier says on both streams, and its run folder."""
    options = ["unstuck.specimens:half_wired", "--budget", "400"]
    command = [sys.executable, "-m", "unstuck", "diagnose", *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return ran.stdout, ran.stderr, folder / "unstuck-runs" / "classifier-half-wired-1"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_help_and_version_load_nothing_heavy() -> None:
    program = (
        "import sys, unstuck.cli as cli\n"
        "calls = [[], ['--help'], ['--version'], ['train', '--help'], ['diagnose', '--budget', 'x']]\n"
        "codes = [cli.run(call) for call in calls]\n"
        "print(codes, sorted({'torch', 'numpy', 'scipy', 'plotly', 'jinja2'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[0, 0, 0, 0, 2] []"
    assert re.search(r"^unstuck \d+\.\d+\.\d+$", ran.stdout, re.MULTILINE)


@pytest.mark.parametrize("verb", ["diagnose", "measure", "train", "report"])
def test_every_verb_explains_itself_with_examples(verb: str, capsys: Captured) -> None:
    assert cli.run([verb, "--help"]) == 0
    told = capsys.readouterr().out
    assert "Examples" in told
    assert f"unstuck {verb} " in told
    assert "--json" in told


def test_the_verdict_is_told_in_words(diagnosed: tuple[str, str, Path]) -> None:
    told, _, run = diagnosed
    document = read(run / "report.json")
    assert document["diagnosis"]["cause"] == "broken-wiring"
    joined = " ".join(told.split())
    for words in (
        "Diagnosis of classifier half wired",
        "broken-wiring",
        f"({document['diagnosis']['confidence']:.2f})",
        document["diagnosis"]["summary"],
        *(evidence["says"] for evidence in document["findings"][0]["evidence"]),
        "as it is",
        *(trial["because"] for trial in document["trials"] if trial["arm"] == "remedy"),
        document["prescription"]["steps"][0]["says"],
        f"{document['cost']['updates']:,} updates",
        "unstuck-runs/classifier-half-wired-1/report.html",
    ):
        assert words in joined
    assert "\x1b" not in told  # no colours and no links where nobody looks


def test_nothing_but_data_is_on_standard_output(diagnosed: tuple[str, str, Path]) -> None:
    told, noticed, run = diagnosed
    assert told.startswith("Diagnosis of")
    assert noticed == ""
    assert {path.name for path in run.iterdir()} == {"report.html", "report.json"}


def test_the_command_that_is_told_trains_better(diagnosed: tuple[str, str, Path], capsys: Captured) -> None:
    (command,) = re.findall(r"^ +unstuck (train .*)$", diagnosed[0], re.MULTILINE)
    arguments = shlex.split(command)
    assert arguments[2:4] == ["--updates", "1000"]
    arguments[3] = "200"
    final = []
    for call in (arguments, arguments[:4]):
        assert cli.run([*call, "--quiet", "--json", "-"]) == 0
        final.append(json.loads(capsys.readouterr().out)["final"])
    assert final[0]["train_loss"] < 0.7 * final[1]["train_loss"]
    assert final[0]["train_accuracy"] > final[1]["train_accuracy"]


def test_check_tells_the_healthy_from_the_sick(folder: Path) -> None:
    healthy = ["diagnose", "unstuck.specimens:bowl", "--budget", "300", "--check", "--quiet"]
    assert cli.run(healthy) == 0
    sick = ["diagnose", "targets.py:nan_in_data", "--budget", "200", "--quiet"]
    assert cli.run([*sick, "--check"]) == 3
    assert cli.run(sick) == 0


def test_json_on_standard_output_is_alone_whatever_a_target_prints(folder: Path, capsys: Captured) -> None:
    assert cli.run(["measure", "targets.py:talkative", "gradient", "--json", "-"]) == 0
    printed, told = capsys.readouterr()
    (name,) = {path.name for path in (folder / "unstuck-runs").iterdir()} & {"talk-a-b-1"}
    assert json.loads(printed) == read(folder / "unstuck-runs" / name / "report.json")
    assert "loading the data ..." in told
    assert "unstuck-runs/talk-a-b-1/report.html" in told


def test_run_folders_are_numbered_and_never_overwritten(tmp_path: Path, capsys: Captured) -> None:
    verb = ["measure", "targets.py:good", "gradient"]
    for number in (1, 2):
        assert cli.run(verb) == 0
        assert f"unstuck-runs/good-{number}/report.html" in capsys.readouterr().out
    out = ["--out", str(tmp_path / "a" / "b"), "--json", str(tmp_path / "c" / "copy.json")]
    assert cli.run([*verb, *out]) == 0
    assert read(tmp_path / "a" / "b" / "report.json") == read(tmp_path / "c" / "copy.json")
    assert cli.run([*verb, *out]) == 2


def test_readings_are_told_with_their_units(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.run(["measure", "targets.py:good", "spectrum", "--device", "cpu", "--seed", "3"]) == 0
    printed, noticed = capsys.readouterr()
    assert "Readings of good" in printed
    assert "spectrum: Eigenvalues of the Hessian (24 samples)" in printed
    assert re.search(r"largest +[\d.]+ ± \S+( × \S+)? loss / unit²", printed)
    assert noticed == ""


def test_a_training_is_told_and_a_broken_one_warns(tmp_path: Path, capsys: Captured) -> None:
    assert cli.run(["train", "targets.py:good", "--epochs", "2"]) == 0
    printed, noticed = capsys.readouterr()
    assert re.search(r"train loss +0\.\d+", printed)
    assert re.search(r"train accuracy +\d+ %", printed)
    assert "12 updates" in printed
    weights = Path(noticed.strip().rpartition(" ")[2])
    assert all(tensor.isfinite().all() for tensor in torch.load(weights, weights_only=True).values())
    assert cli.run(["train", "targets.py:diverging", "--updates", "50", "--quiet", "--out", str(tmp_path / "run")]) == 0
    printed, noticed = capsys.readouterr()
    at = read(tmp_path / "run" / "report.json")["broke_at"]
    assert noticed == f"unstuck: the loss stopped being finite at update {at}, where the training ended\n"
    assert "not finite" in printed


@pytest.fixture(scope="module")
def help_of_train() -> str:
    """What ``unstuck train --help`` says, on lines as long as they need to be."""
    environment = {**os.environ, "COLUMNS": "400"}
    command = [sys.executable, "-m", "unstuck", "train", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_every_setting_of_a_recipe_is_an_option(help_of_train: str) -> None:
    options = re.findall(r"--[a-z-]+", help_of_train)
    assert not [name for name in Recipe.model_fields if f"--{name.replace('_', '-')}" not in options]


@pytest.mark.parametrize("names", [OPTIMIZERS, SCHEDULES, LOSSES, NORMALIZATIONS, RULES, AVERAGINGS, PLACEMENTS])
def test_every_method_is_named_in_the_help(names: Collection[str], help_of_train: str) -> None:
    assert not [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", help_of_train)]


def test_methods_are_named_by_options_and_by_a_recipe_which_they_override(tmp_path: Path, capsys: Captured) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('optimizer = "adam"\nrate = 0.5\nepochs = 1\nschedule = "cosine"\n', encoding="utf-8")
    options = ["--rate", "0.01", "--updates", "9", "--momentum", "0.8", "--quiet", "--json", "-"]
    assert cli.run(["train", "targets.py:good", "--recipe", str(recipe), *options, "--out", str(tmp_path / "run")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["recipe"] == {
        "updates": 9,
        "seed": 0,
        "optimizer": "adam",
        "rate": 0.01,
        "momentum": 0.8,
        "schedule": "cosine",
    }
    assert document["curve"][0]["rate"] == 0.01
    again = ["train", "targets.py:good", "--recipe", str(tmp_path / "run" / "recipe.toml"), "--quiet", "--json", "-"]
    assert cli.run(again) == 0
    repeated = json.loads(capsys.readouterr().out)
    assert (repeated["curve"], repeated["final"]) == (document["curve"], document["final"])


def test_what_methods_changed_and_left_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    options = ["--updates", "3", "--normalization", "layer", "--batch-size", "64", "--quiet"]
    assert cli.run(["train", "unstuck.specimens:healthy", *options]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "With batch-size = 64, batch-rule = linear, normalization = layer, placement = before." in told
    assert "with the batch size the rate goes from 0.05 to 0.1, by the linear rule" in told
    assert "normalization was put into 0 (Linear): layer normalization of its 32 channels before its activation" in told
    assert "normalization was left out of 4 (Linear): it is an output layer" in told


def test_a_training_leaves_its_curve_its_recipe_and_its_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cli.run(["train", "targets.py:good", "--updates", "40", "--out", str(run), "--quiet"]) == 0
    names = {"report.json", "report.html", "curve.jsonl", "checkpoint.pt", "recipe.toml", "weights.pt"}
    assert {path.name for path in run.iterdir()} == names
    lines = [json.loads(line) for line in (run / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == read(run / "report.json")["curve"]
    assert [line["update"] for line in lines] == list(range(40))


def test_an_interrupted_training_goes_on_and_a_finished_one_says_so(tmp_path: Path, capsys: Captured) -> None:
    run, whole = str(tmp_path / "run"), tmp_path / "whole"
    options = ["--updates", "130", "--checkpoint-every", "30", "--quiet"]
    assert cli.run(["train", "targets.py:interrupting", *options, "--out", run]) == 130
    said = "".join(capsys.readouterr().out.split())  # a long path is broken over lines, anywhere
    assert f"unstucktrain--resume{run}goesonwithit" in said
    assert read(tmp_path / "run" / "report.json")["finished"] is False
    assert cli.run(["train", "--resume", run]) == 0
    printed, noticed = capsys.readouterr()
    assert "130 updates" in printed
    assert "the trained weights are in" in noticed
    sys.modules.pop("targets")
    assert cli.run(["train", "targets.py:interrupting_late", *options, "--out", str(whole)]) == 0
    assert (tmp_path / "run" / "curve.jsonl").read_bytes() == (whole / "curve.jsonl").read_bytes()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    capsys.readouterr()
    assert cli.run(["train", "--resume", run, "--json", "-"]) == 0
    printed, noticed = capsys.readouterr()
    assert json.loads(printed) == json.loads(before["report.json"])
    assert noticed == f"unstuck: {run}: this training is finished; nothing was done\n"
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_without_a_target_it_is_said_that_there_is_a_built_in_one(capsys: Captured) -> None:
    assert cli.run(["train", "--updates", "3", "--json", "-"]) == 0
    printed, noticed = capsys.readouterr()
    assert json.loads(printed)["problem"]["target"] == "unstuck.specimens:DEFAULT"
    assert "built-in example" in noticed
    assert cli.run(["train", "--updates", "3", "--json", "-", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_page_is_drawn_again_from_its_report(diagnosed: tuple[str, str, Path], capsys: Captured) -> None:
    run = diagnosed[2]
    page, before = run / "report.html", (run / "report.json").read_bytes()
    drawn = page.read_text(encoding="utf-8")
    for argument in (run, run / "report.json"):
        page.unlink()
        assert cli.run(["report", str(argument)]) == 0
        assert capsys.readouterr().out == f"{page}\n"
        assert page.read_text(encoding="utf-8") == drawn
    assert (run / "report.json").read_bytes() == before
    assert cli.run(["report", str(run), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(before)


@pytest.mark.parametrize(
    ("verb", "target"), [("diagnose", "interrupting_late"), ("measure", "interrupting"), ("train", "interrupting")]
)
def test_an_interruption_keeps_what_there_is(verb: str, target: str, tmp_path: Path, capsys: Captured) -> None:
    assert cli.run([verb, f"targets.py:{target}", "--out", str(tmp_path), "--json", "-"]) == 130
    printed, told = capsys.readouterr()
    document = read(tmp_path / "report.json")
    assert document == json.loads(printed)
    assert f"interrupted; what was measured until then is in {tmp_path / 'report.html'}" in told
    assert document["curve"] if verb == "train" else document["readings"]
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_without_a_verdict_the_nearest_causes_are_named(tmp_path: Path, capsys: Captured) -> None:
    assert cli.run(["diagnose", "targets.py:interrupting_late", "--out", str(tmp_path), "--quiet"]) == 130
    told = " ".join(capsys.readouterr().out.split())
    document = read(tmp_path / "report.json")
    assert document["diagnosis"]["cause"] == "unknown"
    assert document["diagnosis"]["candidates"]
    findings = {finding["cause"]: finding for finding in document["findings"]}
    for candidate in document["diagnosis"]["candidates"]:
        assert f"{candidate}: {findings[candidate]['evidence'][0]['says']}" in told


def test_a_failure_of_ours_is_one_line_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def failing(*given: object, **named: object) -> None:
        raise ZeroDivisionError("all\nbroken")

    monkeypatch.setattr("unstuck.measuring.measure_document", failing)
    assert cli.run(["measure", "targets.py:good"]) == 1
    printed, told = capsys.readouterr()
    assert printed == ""
    assert told.count("\n") == 1
    assert told.startswith("unstuck: this is a failure of unstuck, not of your input: ZeroDivisionError: all broken")
    assert "UNSTUCK_DEBUG=1" in told
    monkeypatch.setenv("UNSTUCK_DEBUG", "1")
    assert cli.run(["measure", "targets.py:good"]) == 1
    assert "Traceback" in capsys.readouterr().err

"""Bad input gives one line that says what is wrong, where and what to do, exit code 2, and never a traceback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.targets import TARGETS

from unstuck import cli
from unstuck.course import Course
from unstuck.progress import Look
from unstuck.recipe import Recipe
from unstuck.target import load
from unstuck.training import Interrupted, walked

TRAIN = ("train", "targets.py:good", "--updates", "2")
STEP = {"remedy": "raise-learning-rate", "settings": {"factor": 2.0}}
GAIN = {"fraction": 0.5, "interval": [0.1, 0.2], "says": "it helps"}
RECIPES = {"misspelt.toml": 'rate = 0.1\noptimiser = "adam"\n', "quoted.toml": 'rate = "0.1"\n'}
REPORTS = {
    "broken.json": '{"schema": 1, ',
    "list.json": "[]",
    "later.json": json.dumps({"schema": 99, "diagnosis": {}}),
    "training.json": json.dumps({"schema": 1, "final": {}}),
    "nothing.json": json.dumps({"schema": 1, "diagnosis": {}, "prescription": None}),
    "gone.json": json.dumps({"schema": 1, "diagnosis": {}, "prescription": {"steps": []}}),
    "unknown.json": json.dumps(
        {"schema": 1, "diagnosis": {}, "prescription": {"steps": [{"remedy": "pray", "settings": {}}]}}
    ),
    "late.json": json.dumps(
        {"schema": 1, "diagnosis": {}, "prescription": {"from_update": 50, "steps": [STEP], "gain": GAIN}}
    ),
}

CASES: dict[tuple[str, ...], tuple[str, ...]] = {
    # the target
    ("diagnose", "missing.py:f"): ("'missing.py:f'", "there is no file missing.py", "give a path"),
    ("diagnose", "targets.py:missing"): ("targets.py has no 'missing'", "it has: ", "good"),
    ("diagnose", "targets.py"): ("'targets.py'", "write path/to/file.py:function"),
    ("diagnose", "no_such_module:f"): ("there is no module 'no_such_module'", "install it"),
    ("diagnose", "targets.py:constant"): ("'constant' is a int", "must be a function"),
    ("diagnose", "targets.py:raising"): ("the function raised ZeroDivisionError: division by zero", "targets.py, line"),
    ("diagnose", "targets.py:leaving"): ("its code ends the program (exit 7)", "__main__"),
    ("diagnose", "targets.py:number"): ("returned int", "must return an unstuck.Problem or a mapping"),
    ("diagnose", "targets.py:misspelt"): ("unknown field modle", "a problem has", "model"),
    ("diagnose", "targets.py:without_optimizer"): ("needs `optimizer`", "torch.optim.Optimizer", "not given"),
    ("diagnose", "unreadable.py:f"): ("running unreadable.py raised SyntaxError", "line 1"),
    # the problem
    ("diagnose", "targets.py:empty"): ("train: the loader is empty", "at least one batch"),
    ("measure", "targets.py:empty_valid"): ("valid: the loader is empty", "at least one batch"),
    ("train", "targets.py:wrong_valid"): ("a batch of `valid`", "cannot be multiplied", "one argument"),
    ("measure", "targets.py:once"): ("train: the loader can be iterated only once", "hand over a DataLoader"),
    ("measure", "targets.py:no_pairs"): ("must be (inputs, targets); got Tensor", "give `step`"),
    ("measure", "targets.py:broken_data"): ("`train`", "could not be read", "no sample", "__getitem__"),
    ("measure", "targets.py:loss_of_each"): ("`loss` must give a scalar", "mean over the batch", "shape (4,)"),
    ("measure", "targets.py:loss_without_slope"): ("`loss` is not differentiable", "look for torch.no_grad()"),
    ("measure", "targets.py:loss_raising"): ("`loss` could not be called", "ValueError: first line;", "make their"),
    ("measure", "targets.py:model_raising"): ("model could not be called", "`train`", "one argument"),
    ("measure", "targets.py:other_parameters"): ("`optimizer` holds parameters of another model", "build it as"),
    # the options
    ("measure", "targets.py:good", "spectrm"): ("no probe is called 'spectrm'", "there are ", "spectrum"),
    ("measure", "targets.py:good", "--device", "cuda"): ("--device cuda", "no such device", "it has cpu"),
    ("measure", "targets.py:good", "--device", "abacus"): ("'--device'", "'abacus'", "measure --help"),
    ("measure", "targets.py:good", "--out", "run"): ("--out run", "holds a report", "give another"),
    ("train", "--out", "targets.py"): ("--out targets.py", "is a file", "give a folder"),
    ("diagnose", "--json", "run"): ("--json run", "this is a folder", "give a file"),
    ("diagnose", "--budget", "0"): ("'--budget'", "greater than or equal to 1", "diagnose --help"),
    ("diagnose", "--bugdet", "9"): ("--bugdet", "--budget", "diagnose --help"),
    ("measure",): ("'TARGET'", "measure --help"),
    ("frobnicate",): ("'frobnicate'", "see unstuck --help"),
    (*TRAIN[:2], "--updates", "0"): ("--updates must be at least 1", "got 0"),
    (*TRAIN[:2], "--updates", "-3"): ("--updates must be at least 1", "got -3"),
    (*TRAIN[:2], "--epochs", "0"): ("--epochs must be at least 1", "got 0"),
    (*TRAIN, "--epochs", "1"): ("number of `updates` or the number of `epochs`", "not both"),
    # methods and recipes
    (*TRAIN, "--rate", "0"): ("--rate must be above 0", "got 0.0"),
    (*TRAIN, "--rate", "-0.1"): ("--rate must be above 0", "got -0.1"),
    (*TRAIN, "--rate", "fast"): ("'--rate'", "number", "train --help"),
    (*TRAIN, "--schedule", "cosine", "--warm-up", "5"): ("a schedule of 2 updates", "no room for a warm-up of 5"),
    ("train", "targets.py:regression", "--loss", "cross-entropy"): ("cross-entropy needs targets", "class numbers"),
    (*TRAIN, "--normalization", "batch"): ("no layer of the model qualifies", "output layer", "leave it out"),
    (*TRAIN, "--optimizer", "adma", "--rate", "1"): ("cannot be 'adma'", "did you mean adam", "it is one of", "lamb"),
    (*TRAIN, "--schedule", "cosin"): ("cannot be 'cosin'", "did you mean cosine?", "one-cycle"),
    (*TRAIN, "--loss", "hinge"): ("cannot be 'hinge'", "it is one of cross-entropy"),
    (*TRAIN, "--normalization", "bach"): ("cannot be 'bach'", "did you mean batch?", "spectral"),
    (*TRAIN, "--optimizer", "adam"): ("`optimizer` needs `rate`", "give both"),
    (*TRAIN, "--optimizer", "adagrad", "--rate", "1", "--momentum", "0.9"): (
        "adagrad has no momentum",
        "it takes rate",
    ),
    (*TRAIN, "--batch-size", "100"): ("a batch of 100", "24 samples"),
    (*TRAIN, "--learning-rate", "1"): ("--learning-rate", "train --help"),
    (*TRAIN, "--clip-norm", "1", "--prescription", "late.json"): ("not with clip_norm", "give one of them"),
    (*TRAIN, "--recipe", "missing.toml"): ("missing.toml: there is no such file", "give a recipe"),
    (*TRAIN, "--recipe", "targets.py"): ("targets.py: is not TOML", "line 2", "write lines as"),
    (*TRAIN, "--recipe", "misspelt.toml"): ("misspelt.toml, line 2: `optimiser`", "did you mean optimizer?"),
    (*TRAIN, "--recipe", "quoted.toml"): ("quoted.toml, line 1: `rate` must be a number", "got '0.1'"),
    (*TRAIN, "--checkpoint-every", "-1"): ("'--checkpoint-every'", "0", "train --help"),
    # trainings to go on with
    ("train", "--resume", "missing"): ("missing: holds no checkpoint.pt", "give the folder of a training"),
    ("train", "--resume", "torn"): ("torn/checkpoint.pt: cannot be read as a checkpoint", "train anew"),
    ("train", "--resume", "stopped", "--rate", "3"): ("stopped: this training was started with rate 0.5", "rate 3.0"),
    ("train", "--resume", "stopped", "--seed", "3"): ("with seed 1, and seed 3 is asked for", "start another training"),
    ("train", "--resume", "stopped", "--updates", "9"): (
        "20 updates were made already",
        "9 are asked for",
        "give more",
    ),
    ("train", "--resume", "stopped", "--out", "other"): ("--out other: a resumed training has its own", "leave it out"),
    ("train", "targets.py:regression", "--resume", "stopped"): ("of another problem (name good then, regression now)",),
    (*TRAIN, "--out", "stopped"): ("stopped: this folder holds a training", "--resume stopped", "another folder"),
    # reports
    (*TRAIN, "--prescription", "missing.json"): ("missing.json", "no such file", "give a run folder"),
    (*TRAIN, "--prescription", "broken.json"): ("broken.json", "cannot be read as a report", "cut off"),
    (*TRAIN, "--prescription", "list.json"): ("list.json", '"schema": 1'),
    (*TRAIN, "--prescription", "later.json"): ("later.json", '"schema": 1'),
    (*TRAIN, "--prescription", "training.json"): ("training.json", "no diagnosis", "unstuck diagnose"),
    (*TRAIN, "--prescription", "nothing.json"): ("nothing.json", "nothing is prescribed", "train without it"),
    (*TRAIN, "--prescription", "gone.json"): ("gone.json", "cannot be read", "diagnose again"),
    (*TRAIN, "--prescription", "unknown.json"): ("no remedy 'pray'", "known are", "escape-saddle"),
    (*TRAIN, "--prescription", "late.json"): ("after 50 updates", "ends after 2", "train for more"),
    ("report", "missing"): ("missing: there is no such file", "give a run folder"),
    ("report", "later.json"): ("later.json", '"schema": 1'),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets and reports, and a run folder."""
    made = tmp_path_factory.mktemp("bad")
    (made / "targets.py").write_text(TARGETS, encoding="utf-8")
    (made / "unreadable.py").write_text("x = = 3\n", encoding="utf-8")
    for name, text in (RECIPES | REPORTS).items():
        (made / name).write_text(text, encoding="utf-8")
    (made / "run").mkdir()
    (made / "run" / "report.json").write_text('{"schema": 1}', encoding="utf-8")
    (made / "torn").mkdir()
    (made / "torn" / "checkpoint.pt").write_bytes(b"PK")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        _stop(made)
    sys.modules.pop("targets")
    return made


def _stop(folder: Path) -> None:
    """Leave a training in the folder ``stopped`` that was stopped after 32 updates and a checkpoint after 20."""

    def press_control_c(look: Look) -> None:
        if look.made[-1].update > 20:
            raise KeyboardInterrupt

    recipe = Recipe(updates=40, rate=0.5, seed=1)
    course = Course.of(load(f"{folder / 'targets.py'}:good"), recipe, target="targets.py:good", every=20)
    course.write_to(folder / "stopped")
    with pytest.raises(Interrupted):
        walked(course, watcher=press_control_c)


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in that folder, and leave nothing of its module behind."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("targets", None)


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_bad_input_is_told_in_one_line(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*arguments, "--quiet"] if arguments[0] in ("diagnose", "train") else list(arguments)) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert told.startswith("unstuck: ")
    assert told.endswith("\n")
    assert told.count("\n") == 1
    assert "Traceback" not in told
    assert not [words for words in CASES[arguments] if words not in told], told


def test_what_cannot_be_gone_on_with_stays_as_it_is(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "stopped").iterdir()}
    refused = [arguments for arguments in CASES if "stopped" in arguments]
    assert refused
    assert {cli.run([*arguments, "--quiet"]) for arguments in refused} == {2}
    assert {path.name: path.read_bytes() for path in (folder / "stopped").iterdir()} == before


def test_what_is_refused_leaves_nothing_behind(folder: Path) -> None:
    assert cli.run(["measure", "targets.py:good", "--out", "run"]) == 2
    assert (folder / "run" / "report.json").read_text(encoding="utf-8") == '{"schema": 1}'
    assert [path.name for path in (folder / "run").iterdir()] == ["report.json"]
    assert not (folder / "unstuck-runs").exists()


def test_nan_in_the_data_is_a_finding_and_not_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, verb in enumerate(("measure", "train", "diagnose")):
        out = tmp_path / str(number)
        assert cli.run([verb, "targets.py:nan_in_data", "--quiet", "--json", "-", "--out", str(out)]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document == json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert document["diagnosis"]["cause"] == "non-finite"


def test_the_process_ends_with_2(folder: Path) -> None:
    command = [sys.executable, "-m", "unstuck", "diagnose", "targets.py:missing"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("unstuck: target 'targets.py:missing': targets.py has no 'missing'")
    assert ran.stderr.count("\n") == 1


def test_a_debugger_sees_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("UNSTUCK_DEBUG", "1")
    assert cli.run(["measure", "targets.py:raising"]) == 2
    told = capsys.readouterr().err
    assert "return 1 / 0" in told
    assert told.splitlines()[-1].startswith("unstuck: target 'targets.py:raising'")

"""The command line: help without heavy imports, each fault in one line with its exit code, no stray files."""

import json
import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import forecast
from forecast import __main__ as program
from forecast.errors import ArtifactError, DataError, RunError, UsageError
from forecast.verbs import help as pages

ROOT = Path(forecast.__file__).resolve().parents[1]
Run = Callable[..., tuple[int, str, str]]
STUB = """
import os, sys, time, types
made = types.ModuleType("forecast.verbs.train")
def train(cfg, overrides):
    from forecast.errors import DataError
    print("began", flush=True)
    time.sleep(float(os.environ.get("STUB_SLEEP", "0")))
    if cfg.seed == 2:
        raise DataError("a bad row", "a good one", "mend it")
    return cfg.seed / 4
made.train = train
sys.modules[made.__name__] = made
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """Call the program in this process, in an empty directory: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the program sets it; this puts it back
    monkeypatch.delenv("FORECAST_TRACEBACK", raising=False)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["forecast", *words])
        code = program.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield call
    root.level, root.handlers[:] = before  # Hydra's --info changes them


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for the verbs; `calls` has what they were given, `do` what they do."""
    kept: dict[str, Any] = {"calls": [], "do": lambda cfg: 0.5}

    def stand_in(verb: str) -> types.ModuleType:
        def function(cfg: Any, overrides: list[str]) -> float:
            kept["calls"].append((verb, cfg, overrides, list(sys.argv)))
            return float(kept["do"](cfg))

        module = types.ModuleType(f"forecast.verbs.{verb}")
        setattr(module, verb, function)
        return module

    for verb in (*pages.CONFIGURED, "compare"):
        monkeypatch.setitem(sys.modules, f"forecast.verbs.{verb}", stand_in(verb))
    return kept


def start(*words: str, cwd: Path, stub: bool = False, **env: str) -> "subprocess.Popen[str]":
    """The program as a process of its own; `stub`: with a train that only returns a number."""
    path = [str(ROOT)]
    if stub:
        (cwd / "stub").mkdir()
        (cwd / "stub" / "sitecustomize.py").write_text(STUB)
        path.append(str(cwd / "stub"))
    return subprocess.Popen(
        [sys.executable, "-m", "forecast", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "stub" not in path.parts)


def one_line(err: str) -> str:
    assert err.startswith("forecast: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err


# Help


def test_help_and_typos_need_neither_torch_nor_hydra(tmp_path: Path) -> None:
    lines = [[], ["--help"], ["--version"], ["trian"], ["train", "foo"], ["train", "--epochs", "3"]]
    lines += [[verb, "--help"] for verb in pages.VERBS]
    code = (
        "import sys\nfrom forecast.__main__ import main\n"
        f"for words in {lines!r}:\n    sys.argv = ['forecast', *words]\n    main()\n"
        "    heavy = {'torch', 'hydra', 'omegaconf', 'pytorch_lightning', 'mlflow'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == []


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_front_page(run: Run, words: list[str]) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert all(verb in out for verb in pages.VERBS)
    assert out.count("\n  forecast ") == 5


@pytest.mark.parametrize("verb", [*pages.CONFIGURED, "ui"])
def test_page_of_a_verb(run: Run, verb: str) -> None:
    code, out, err = run(verb, "--help")
    assert (code, err) == (0, "")
    assert run("help", verb)[1] == out
    assert sum(line.startswith(("  forecast ", "  ssh")) for line in out.split("\n")) == 5
    assert max(map(len, out.split("\n"))) <= 120


def test_help_lists_the_choices_of_every_group(run: Run) -> None:
    out = {verb: run(verb, "--help")[1] for verb in pages.CONFIGURED}
    for verb, group in [(each, group) for each in out for group in pages.defaults(each)]:
        assert f"\n  {group} " in out[verb]
        for name in pages.choices(group):
            assert name in out[verb] or name.rpartition("_")[0] + "_{" in out[verb], (group, name)
    out = out["train"]
    assert "informer*" in out
    assert "generative*" in out
    assert "base" not in out.split()


@pytest.mark.parametrize("verb", pages.CONFIGURED)
def test_examples_compose(run: Run, verbs: dict[str, Any], verb: str) -> None:
    for line, _ in pages.PAGES[verb].examples:
        words = line.split()[1:]
        if "-m" not in words:
            assert run(*words)[0] == 0, line
    assert {call[0] for call in verbs["calls"]} == ({verb, "compare"} if verb == "evaluate" else {verb})


def test_version(run: Run) -> None:
    assert run("--version")[:2] == (0, f"forecast {forecast.__version__}\n")


def test_config_is_shown_not_run(run: Run, verbs: dict[str, Any], tmp_path: Path) -> None:
    code, out, _ = run("train", "--cfg", "job", "--package", "optim", "optim.lr=0.5")
    assert (code, "lr: 0.5" in out) == (0, True)
    assert "${" not in run("train", "-c", "job", "--resolve")[1]
    assert "experiment" in run("train", "--info", "defaults-tree")[1]
    assert verbs["calls"] == []
    assert files(tmp_path) == []


# Faults of usage: one line, exit code 2, nothing written

FAULTS = [
    ("trian", f"expected a verb: {', '.join(pages.VERBS)}; did you mean train?"),
    ("model=linear", "e.g. forecast train model=linear"),
    ("--epochs 3", "--epochs is not a flag of forecast"),
    ("train modle=informer", "modle is not a key of forecast train; expected one of task, model,"),
    ("train modle=informer", "did you mean model?"),
    ("train model=informr", "model=informr is not there; expected a choice of model; did you mean informer"),
    ("train model=", "choose one of: aaren"),
    ("train model=null", "model=null is not there"),
    ("train trainer=5", "trainer=5 is not there"),
    ("train data=base", "data=base is not there"),
    ("train experiment=none_such", "informer_etth1_{24,48,168,336,720}"),
    ("train model.d_modl=3", "model.d_modl is not a key of model; expected one of d_model, heads,"),
    ("train model.d_modl=3", "did you mean model.d_model?"),
    ("train max_epochs=3", "did you mean trainer.max_epochs?"),
    ("train model.heads.x=3", "model.heads takes a value, not keys"),
    (
        "train trainer.max_epochs=three",
        "trainer.max_epochs=three is not valid; expected a whole number; e.g.",
    ),
    ("train task.horizon=1.5", "expected a whole number"),
    ("train seed=null", "seed=null is not valid; expected a whole number; e.g. seed=1"),
    ("train quiet=maybe", "expected true or false"),
    ("train trainer.clip=x", "expected a number or null"),
    ("train trainer.devices=[1]", "expected a whole number or text"),
    ("train optim.betas=[a]", "expected a list, each a number"),
    (
        "train norm=instant",
        "norm=instant is not valid; expected one of none, instance, rolling; did you mean instance?",
    ),
    ("train task.loss=mea", "expected one of mse, mae, huber"),
    ("train trainer.precision=32", "expected one of 32-true,"),
    ("evaluate run=x split=tset", "did you mean test?"),
    ("train model=informer,linear", "add -m to run each, or write a list as 'model=[informer,linear]'"),
    ("train -m model=informer,lin", "model=lin is not there"),
    ("train foo", "'foo' is not key=value; options are written key=value, e.g. trainer.max_epochs=3"),
    ("train model linear", "model has no value; expected model=CHOICE; choose one of: aaren"),
    ("train =3", "names no key"),
    ("train seed=[1", "'seed=[1' cannot be read"),
    (
        "train --epochs 3",
        "--epochs is not a flag of forecast train; options are written key=value, e.g. trainer.max",
    ),
    ("train --confg job", "did you mean --cfg?"),
    ("train --cfg jobb", "expected job, all; did you mean job?"),
    ("train --cfg", "--cfg has no value; expected job or all"),
    ("train --config-dir none_such", "none_such is no directory"),
    ("train --experimental-rerun x.pickle", "--experimental-rerun is not a flag"),
    ("train --config-path x", "--config-path is not a flag"),
    ("train --resolve", "--cfg"),
    ("evaluate model=linear", "model is not a group of forecast evaluate"),
    ("train +model=linear", "model is chosen twice"),
    ("train +foo=1", "foo was added"),
    ("train ~seed", "seed was removed"),
    ("train ~model.foo", "'model.foo' does not exist"),
    ("train seed=${sed}", "cannot be resolved"),
    ("train data=series", "set data.path=FILE"),
    ("evaluate", "run is not set; it has no default; set run=latest"),
    ("predict run=latest", "input is not set"),
    ("export output=m.onnx", "run is not set; it has no default; set run=latest"),
    ("export run=latest output=m format=tflite", "expected one of onnx, torch or null"),
]


@pytest.mark.parametrize(("line", "said"), FAULTS, ids=[f"{i} {line}" for i, (line, _) in enumerate(FAULTS)])
def test_a_fault_of_usage(run: Run, verbs: dict[str, Any], tmp_path: Path, line: str, said: str) -> None:
    code, out, err = run(*line.split())
    assert (code, out) == (2, "")
    assert said in one_line(err)
    assert verbs["calls"] == []
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "# @package _global_\ntrainer:\n  max_epoch: 3\n",
            "experiment/mine: trainer.max_epoch: Key 'max_epoch' not in",
        ),
        ("# @package _global_\ntrainer:\n  max_epoch: 3\n", "did you mean max_epochs"),
        (
            "# @package _global_\ntrainer:\n  max_epochs: x\n",
            "experiment/mine: trainer.max_epochs: Value 'x'",
        ),
        (
            "# @package _global_\ndefaults:\n  - override /modle: linear\n",
            "(In 'experiment/mine'); expected GROUP",
        ),
        ("a: [1\n", "mine.yaml line 2: expected ',' or ']'"),
    ],
)
def test_a_fault_in_a_file_of_the_user(run: Run, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    (tmp_path / "my" / "experiment" / "mine.yaml").write_text(text)
    code, _, err = run("train", "--config-dir", "my", "experiment=mine")
    assert code == 2
    assert said in one_line(err)


def test_a_typo_in_a_process_of_its_own(tmp_path: Path) -> None:
    child = start("train", "modle=informer", cwd=tmp_path)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert "did you mean model?" in one_line(err)
    assert files(tmp_path) == []


# What a verb is given, and how it may end


def test_a_verb_gets_its_config_and_lightning_its_command_line(run: Run, verbs: dict[str, Any], tmp_path: Path) -> None:
    assert run("train", "seed=3", "--config-dir", str(tmp_path), "data=household") == (0, "", "")
    ((verb, cfg, overrides, argv),) = verbs["calls"]
    assert (verb, cfg.seed, cfg.data.gaps, "hydra" in cfg) == ("train", 3, "mask", False)
    assert overrides == ["seed=3", "data=household"]
    assert argv == ["forecast", "train", "--config-dir", str(tmp_path), "seed=3", "data=household"]
    # What Lightning makes of it for rank 1, and that this is the same job:
    extra = ['hydra.run.dir="."', "hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null"]
    assert run(*argv[1:], *extra) == (0, "", "")
    assert verbs["calls"][1][1] == cfg
    assert verbs["calls"][1][2] == overrides
    assert files(tmp_path) == []


def fail(fault: BaseException) -> Callable[[Any], float]:
    def do(_: Any) -> float:
        raise fault

    return do


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (UsageError("a", "b", "c"), 2, "forecast: a; b; c\n"),
        (DataError("a", "b"), 3, "forecast: a; b\n"),
        (ArtifactError("a\nb"), 4, "forecast: a b\n"),
        (RunError("a"), 5, "forecast: a\n"),
        (KeyboardInterrupt(), 130, "forecast: interrupted\n"),
    ],
)
@pytest.mark.parametrize(
    "verb", ["train run", "evaluate run=x", "predict run=x input=a output=b", "export run=x output=b.onnx"]
)
def test_how_a_verb_may_end(
    run: Run, verbs: dict[str, Any], verb: str, fault: BaseException, code: int, said: str
) -> None:
    verbs["do"] = fail(fault)
    assert run(*verb.replace(" run", "", verb.startswith("train")).split()) == (code, "", said)


def test_lightning_turns_an_interrupt_into_an_exit(run: Run, verbs: dict[str, Any]) -> None:
    def do(_: Any) -> float:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    verbs["do"] = do
    assert run("train") == (130, "", "forecast: interrupted\n")


def test_a_defect_of_ours(run: Run, verbs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    verbs["do"] = fail(KeyError("x"))
    code, _, err = run("train")
    assert code == 5
    assert "KeyError: 'x'; this is a defect of forecast; set FORECAST_TRACEBACK=1" in one_line(err)
    monkeypatch.setenv("FORECAST_TRACEBACK", "1")
    code, _, err = run("train")
    assert code == 5
    assert "Traceback" in err


def test_data_and_ui_get_plain_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for verb in ("data", "ui"):
        given: list[Sequence[str]] = []
        module = types.ModuleType(f"forecast.verbs.{verb}")
        vars(module)["main"] = lambda words, given=given: given.append(words) or 3
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(f"forecast.verbs.{verb}", module, raising=False)
        assert run(verb, "show", "--help")[0] == 3
        assert given == [["show", "--help"]]


# Sweeps and Ctrl-C, in processes of their own


def test_a_sweep_goes_on_after_a_failed_job_and_fails(tmp_path: Path) -> None:
    child = start("train", "-m", "seed=1,2,3", cwd=tmp_path, stub=True)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 3
    assert [line for line in err.split("\n") if "job" not in line] == [
        "forecast: a bad row; a good one; mend it",
        "",
    ]
    assert "2 of 3 jobs done; runs/sweep/" in out
    names = files(tmp_path)
    folder = tmp_path / names[2]
    assert names == [
        "runs",
        "runs/sweep",
        names[2],
        *(f"{names[2]}/{n}" for n in ("0.json", "1.json", "2.json")),
    ] + [f"{names[2]}/multirun.yaml"]
    jobs = [json.loads((folder / f"{n}.json").read_text()) for n in range(3)]
    assert [job["value"] for job in jobs] == [0.25, None, 0.75]
    assert [job["code"] for job in jobs] == [0, 3, 0]
    assert [job["overrides"] for job in jobs] == [["seed=1"], ["seed=2"], ["seed=3"]]


@pytest.mark.parametrize("words", [["train"], ["train", "-m", "seed=1,3"]], ids=["run", "sweep"])
def test_an_interrupt(tmp_path: Path, words: list[str]) -> None:
    child = start(*words, cwd=tmp_path, stub=True, STUB_SLEEP="60")
    assert child.stdout is not None
    assert child.stdout.readline() == "began\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (130, "")
    assert one_line(err.removeprefix("forecast: job 0: seed=1\n")) == "forecast: interrupted\n"

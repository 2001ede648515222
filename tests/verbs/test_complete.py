"""forecast completion: what is offered, in real shells, without waiting for anything heavy."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import forecast
from forecast import config
from forecast.errors import UsageError
from forecast.verbs import complete
from forecast.verbs import help as pages
from forecast.verbs.complete import FILES, SCRIPTS, answer
from forecast.verbs.help import choices
from forecast.where import CONF

ROOT = Path(forecast.__file__).resolve().parents[1]
HEAVY = ("torch", "numpy", "polars", "pandas", "hydra", "omegaconf", "pytorch_lightning", "mlflow", "holidays")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A start directory with two runs and two files; `forecast` is on the PATH."""
    monkeypatch.chdir(tmp_path)
    for run in ("20260101T120000Z-0a1b2c3d", "20260102T120000Z-ffffffff"):
        (tmp_path / "runs" / "train" / run).mkdir(parents=True)
    (tmp_path / "my file.csv").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "forecast"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m forecast "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("tr", ["train"]),
        ("help ev", ["evaluate"]),
        ("completion z", ["zsh"]),
        ("nothing x", []),
        ("train mod", ["model=", "model."]),
        ("train model=", [f"model={name}" for name in choices("model")]),
        ("train -m model=informer,l", ["model=informer,linear", "model=informer,lstm"]),
        ("train norm=", ["norm=none", "norm=instance", "norm=rolling"]),
        ("train norm=none,", ["norm=none,instance", "norm=none,rolling"]),
        ("train data.gaps=m", ["data.gaps=mask"]),
        ("train task.loss=", ["task.loss=mse", "task.loss=mae", "task.loss=huber"]),
        ("train trainer.precision=1", ["trainer.precision=16-mixed", "trainer.precision=16-true"]),
        ("train trainer.max_ep", ["trainer.max_epochs="]),
        ("train trainer=smoke trainer.max_ep", ["trainer.max_epochs="]),
        ("train optim.b", ["optim.betas="]),
        ("train model.dis", ["model.distil="]),
        ("train model=linear model.d", ["model.decompose="]),
        ("train model=linear head.i", ["head.individual="]),
        ("train model=linear head=direct head.t", ["head.tokens="]),
        ("train experiment=smoke track.u", ["track.uri="]),
        ("train experiment.", []),
        ("train nothing.", []),
        ("train model=nothing model.", []),
        ("train predictions=", ["predictions=true", "predictions=false"]),
        ("train head.mix=", ["head.mix=true", "head.mix=false"]),
        ("train seed=", []),
        ("train --cfg ", ["job", "all"]),
        ("train --info=defaults-", ["--info=defaults-tree"]),
        ("train -p optim", ["optim"]),
        ("train --config-dir ", [FILES]),
        ("train --mu", ["--multirun"]),
        ("evaluate split=", ["split=train", "split=val", "split=test"]),
        ("evaluate sa", ["save="]),
        ("evaluate run=", ["run=latest", "run=20260102T120000Z-ffffffff", "run=20260101T120000Z-0a1b2c3d"]),
        ("evaluate run=20260101", ["run=20260101T120000Z-0a1b2c3d"]),
        ("evaluate runs=elsewhere run=", ["run=latest"]),
        ("evaluate run=runs/", [FILES]),
        ("train resume=l", ["resume=latest"]),
        ("predict input=x", [FILES]),
        ("backtest policy=", ["policy=window", "policy=start", "policy=both"]),
        ("backtest refi", ["refit="]),
        ("export format=", ["format=onnx", "format=torch", "format=null"]),
        ("export output=", [FILES]),
        ("train data.path=", [FILES]),
        ("data sh", ["show"]),
        ("data show el", ["electricity", FILES]),
        ("data check my.csv ga", ["gaps=", FILES]),
        ("data check my.csv gaps=", ["gaps=all"]),
        ("data list ", []),
        ("data show my.csv kind=e", ["kind=events"]),
        ("data show my.csv kind=l", ["kind=labelled"]),
        ("data show my.csv kind=labelled la", ["labels=", "label=", FILES]),
        ("data show my.csv kind=events m", ["mimic", "mooc", "missing=", "mark=", FILES]),
        ("data convert all.pkl t", ["to=", FILES]),
        ("data fetch etth1 to=", [FILES]),
        ("predict engine=", ["engine=local", "engine=ray"]),
        ("predict engine.k", ["engine.kind="]),
        ("predict engine.kind=r", ["engine.kind=ray"]),
        ("ui --sto", ["--store"]),
        ("ui --store ", [FILES]),
    ],
)
def test_what_is_offered(place: Path, line: str, want: list[str]) -> None:
    assert answer(line.split(" ")) == want


@pytest.mark.parametrize("verb", pages.CONFIGURED)
def test_every_key_of_a_composed_config_is_offered_and_no_other(verb: str) -> None:
    """schemas/ are read as text and conf/ without Hydra: this is what keeps both readings the same."""
    config.register()
    models = pages.choices("model") if verb == "train" else [None]
    for model in models:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose(verb, [f"model={model}"] if model else [])
        words = [verb, *([f"model={model}"] if model else [])]
        groups = complete.chosen(verb, words[1:])
        offered = {key.removesuffix("=") for key in answer([*words, ""]) if key.endswith("=")}
        offered |= {key[:-1] for group in groups for key in answer([*words, f"{group}."])}
        assert offered - {"experiment"} == {key for key in config.dotted(cfg) if "_target_" not in key}


def test_the_answer_imports_nothing_heavy(place: Path) -> None:
    lines = [["train", "trainer.max_ep"], ["train", "model="], ["evaluate", "run="], ["data", "show", "e"], [""]]
    code = (
        "import sys\nfrom forecast.__main__ import main\n"
        f"for words in {lines!r}:\n    sys.argv = ['forecast', 'completion', 'answer', *words]\n"
        "    assert main() == 0\n"
        f"    heavy = set({HEAVY!r}) & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trainer.max_epochs=\n" in done.stdout


def test_scripts_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in SCRIPTS:
        assert complete.main([shell]) == 0
        assert capsys.readouterr().out.startswith(("# forecast: completion for", "#compdef forecast"))
    assert complete.main(["--help"]) == 0 and 'eval "$(forecast completion bash)"' in capsys.readouterr().out
    with pytest.raises(UsageError, match="no `forecast completion fsh`; did you mean fish"):
        complete.main(["fsh"])


BASH = """
eval "$(forecast completion bash)"
try() {
    COMP_LINE="" COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _forecast
    (IFS='|'; echo "${COMPREPLY[*]}")
}
try forecast tr
try forecast train model =
try forecast train model = inf
try forecast train -m model = informer,l
try forecast train trainer.max_ep
try forecast train task.loss = m
try forecast evaluate run = ""
try forecast predict input = my
try forecast predict input = mi
try forecast data show my
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
try forecast train model=inf
try forecast predict input=my
"""


def test_bash_completes_words_that_it_splits_at_equal_signs(place: Path) -> None:
    done = subprocess.run(["bash", "--norc", "-c", BASH], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split("\n") == [
        "train", "|".join(choices("model")), "informer|informer_tiny", "informer,linear|informer,lstm",
        "trainer.max_epochs=", "mse|mae",
        "latest|20260102T120000Z-ffffffff|20260101T120000Z-0a1b2c3d", "my file.csv", "mine", "my file.csv",
        "model=informer|model=informer_tiny", "input=my file.csv", "",
    ]  # fmt: skip


def typed(shell: list[str], lines: list[str], env: dict[str, str]) -> str:
    """What a shell echoes when a person types the lines into it: each must be followed by its ⟦…⟧ before the next."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(shell[0], shell, {**os.environ, "TERM": "dumb", "PS1": "ready> ", "LC_ALL": "C.UTF-8", **env})
    seen = ""
    try:
        for line in lines:
            os.write(terminal, line.encode())
            until, before = time.monotonic() + 60, seen.count("⟧\r\n")
            while seen.count("⟧\r\n") == before and time.monotonic() < until:
                if select.select([terminal], [], [], 0.1)[0]:
                    seen += os.read(terminal, 65536).decode(errors="replace")
            assert seen.count("⟧\r\n") > before, seen
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return seen


def completed(seen: str) -> list[str]:
    """The arguments that `show` printed between brackets."""
    return re.findall(r"⟦(.*?)⟧\r\n", seen)


# The command is a function that shows its arguments; only the completion asks the program.
SHOW = (
    'forecast() { [[ $1 == completion ]] && { command forecast "$@"; return; }; '
    "printf '\\xe2\\x9f\\xa6%s' \"$1\"; shift; printf '|%s' \"$@\"; printf '\\xe2\\x9f\\xa7\\n'; }"
)
TYPED = [
    "forecast tr\ttrainer.max_ep\t3\n",
    "forecast train model=lin\tnorm=ins\t\n",
    "forecast predict run=la\tinput=my\t output=x.csv\n",
    "forecast evaluate run=20260101\tsave=t\t\n",
]
WANT = [
    "train|trainer.max_epochs=3",
    "train|model=linear|norm=instance",
    "predict|run=latest|input=my file.csv|output=x.csv",
    "evaluate|run=20260101T120000Z-0a1b2c3d|save=true",
]


def test_bash_as_a_person_types(place: Path) -> None:
    first = f'{SHOW}; eval "$(forecast completion bash)"; forecast a\n'
    seen = typed(["bash", "--norc", "--noprofile", "-i"], [first, *TYPED], {"INPUTRC": "/dev/null"})
    assert completed(seen)[-4:] == WANT, seen


if shutil.which("zsh"):

    def test_zsh_as_a_person_types(place: Path) -> None:
        first = f'{SHOW}; autoload -Uz compinit; compinit -u -D; eval "$(forecast completion zsh)"; forecast a\n'
        seen = typed(["zsh", "-f", "-i"], [first, *TYPED], {"PROMPT": "ready> "})
        assert completed(seen)[-4:] == WANT, seen


if shutil.which("fish"):

    def test_fish_offers_the_same(place: Path) -> None:
        for line, want in {
            "forecast tr": {"train"},
            "forecast train model=inf": {"model=informer", "model=informer_tiny"},
            "forecast train trainer.max_ep": {"trainer.max_epochs="},
            "forecast evaluate run=": {"run=latest", "run=20260102T120000Z-ffffffff", "run=20260101T120000Z-0a1b2c3d"},
            "forecast predict input=m": {"input=my file.csv", "input=mine/"},
            "forecast data show elec": {"electricity"},
        }.items():
            script = f"forecast completion fish | source; complete -C '{line}'"
            env = {**os.environ, "HOME": str(place), "XDG_CONFIG_HOME": str(place / "config")}
            done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, env=env)
            assert {row.split("\t")[0] for row in done.stdout.splitlines()} == want, (line, done)

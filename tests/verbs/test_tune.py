"""forecast tune: what a space is, that a study goes on, that bad trials end early, that no test window is scored."""

import json
from pathlib import Path

import pytest

from forecast.errors import RunError, UsageError
from forecast.verbs import tune
from tests.verbs.conftest import command

WORDS = ["model=linear", "optim.lr=log(1e-4,1e-1)", "model.decompose=choice(0,25)"]


def test_spaces_are_told_from_other_words():
    spaces, fixed = tune.read(
        ["a=choice(x,y z)", "seed=1", "b=log(1e-4,1e-2)", "c=uniform(-1, 1)", "d=int(1,3)", "e=f(1)"]
    )
    assert fixed == ["seed=1", "e=f(1)"]
    assert spaces[0] == tune.Space("a", "choice", ("x", "y z"))
    assert [space.parts for space in spaces[1:]] == [("1e-4", "1e-2"), ("-1", "1"), ("1", "3")]


@pytest.mark.parametrize("word", [
    "a=choice()", "a=choice(1,1)", "a=log(0,1)", "a=log(-1,1)", "a=uniform(1,1)", "a=uniform(2,1)", "a=uniform(1)",
    "a=int(1,2.5)", "a=int(a,b)", "a=uniform(0,inf)", "a=uniform(nan,1)", "a=log(1,2,3)",
])  # fmt: skip
def test_a_space_that_means_nothing_is_refused(word):
    with pytest.raises(UsageError, match="is no space"):
        tune.read([word])


def test_a_torn_history_is_read_to_its_last_whole_line(tmp_path):
    folder = tmp_path / "train" / "run"
    assert tune.validations(tmp_path) == []
    folder.mkdir(parents=True)
    head = "step,epoch,name,value,seconds\n1,0,val/mse,0.5,1.0\n1,0,val/mae,0.7,1.0\n2,1,val/mse,0.25,2.0\n"
    (folder / "history.csv").write_text(head + "3,2,val/mse,0.1")
    assert tune.validations(tmp_path) == [0.5, 0.25]


class Fake:
    """A training that takes no time: its validations are a function of lr; it fails where a test says so."""

    commands: list[list[str]] = []
    code = 0
    epochs = 4
    interrupt = -1

    def __init__(self, words, env):
        Fake.commands.append(words)
        said = dict(word.partition("=")[::2] for word in words)
        self.rate, self.place, self.result = float(said["optim.lr"]), Path(said["runs"]), Path(env["FORECAST_RESULT"])
        self.told = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self, until, every_s):
        if Fake.code:
            return Fake.code
        folder = self.place / "train" / "run"
        folder.mkdir(parents=True)
        with open(folder / "history.csv", "w", newline="") as file:
            for epoch in range(Fake.epochs):
                file.write(f"{epoch},{epoch},val/mse,{self.rate + 1 / (1 + epoch)},1.0\n")
                file.flush()
                if until():
                    return None
        if len(Fake.commands) == Fake.interrupt:
            self.told = 2
            return 130
        self.result.write_text(json.dumps({"value": self.rate}))
        return 0


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tune, "Child", Fake)
    for key, value in {"commands": [], "code": 0, "interrupt": -1}.items():
        monkeypatch.setattr(Fake, key, value)
    return Fake


def test_the_best_by_validation_is_printed_as_a_command(fake, capsys):
    assert tune.main([*WORDS, "trials=12"]) == 0
    out = capsys.readouterr().out
    rates = [float(word.partition("=")[2]) for words in fake.commands for word in words if word.startswith("optim.lr")]
    lines = [line.split() for line in out.splitlines() if "done" in line or "pruned" in line]
    assert len(rates) == len(lines) == 12
    assert "pruned" in out
    done = [rate for rate, line in zip(rates, lines, strict=True) if line[1] == "done"]
    assert min(done) == min(rates)
    assert out.splitlines()[-1].startswith(f"forecast train model=linear optim.lr={min(rates):g} model.decompose=")
    assert "no test window was scored" in out


def test_without_pruning_every_trial_ends(fake, capsys):
    tune.main([*WORDS, "trials=10", "prune=false"])
    assert "pruned" not in capsys.readouterr().out


def test_the_same_command_goes_on_and_runs_again_what_was_cut_off(fake, capsys):
    fake.interrupt = 3
    with pytest.raises(KeyboardInterrupt):
        tune.main([*WORDS, "trials=5"])
    fake.interrupt = -1
    assert tune.main([*WORDS, "trials=5"]) == 0
    assert len(fake.commands) == 6
    cut, again = ([word for word in fake.commands[i] if not word.startswith("runs=")] for i in (2, 3))
    assert cut == again
    assert tune.main([*WORDS, "trials=5"]) == 0  # nothing is left to do
    assert len(fake.commands) == 6
    assert tune.main([*WORDS, "trials=6"]) == 0
    assert len(fake.commands) == 7
    assert len(list(Path("runs", "tune").iterdir())) == 1
    tune.main([*WORDS, "seed=2", "trials=1"])
    assert len(list(Path("runs", "tune").iterdir())) == 2


def test_nothing_but_failures_end_it(fake):
    fake.code = 2
    with pytest.raises(RunError, match="3 trials failed and none was done"):
        tune.main([*WORDS, "trials=9"])
    with pytest.raises(RunError, match="4 trials failed"):
        tune.main([*WORDS, "trials=9"])
    assert len(fake.commands) == 4


@pytest.mark.long
def test_a_trial_scores_no_test_window(tmp_path):
    words = ["experiment=smoke", "model=linear", "optim.lr=log(1e-4,1e-2)", "trials=1"]
    done = command("tune", *words, cwd=tmp_path)
    (study,) = (tmp_path / "runs" / "tune").iterdir()
    (run,) = (study / "0" / "train").iterdir()
    assert not {"metrics.json", "predictions.parquet", "MANIFEST.json"} & {file.name for file in run.iterdir()}
    assert f"validation score {tune.validations(study / '0')[0]:.6g}" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_a_folder_that_cannot_be(fake):
    Path("file").write_text("")
    with pytest.raises(UsageError, match="cannot be made: Not a directory"):
        tune.main([*WORDS, "runs=file"])

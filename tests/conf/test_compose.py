"""Every combination of choices composes and resolves, and the order of precedence is the one we promise."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from forecast import build, config
from forecast.errors import UsageError
from forecast.heads.stream import refusal
from forecast.verbs.help import CONFIGURED, PAGES, choices, default, defaults, groups, shown
from forecast.where import CONF
from tests.problems import spec

Compose = Callable[..., DictConfig]
# What a choice cannot do without.
GIVEN = {f"data={kind}": "data.path=some.csv" for kind in ("series", "folder", "events", "labelled")}


@pytest.fixture(scope="module")
def made() -> Iterator[Compose]:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield lambda verb, *words, hydra=False: compose(verb, list(words), return_hydra_config=hydra)


def given(*words: str) -> list[str]:
    return [*words, *(GIVEN[word] for word in words if word in GIVEN)]


GROUPS = ("task", "model", "head", "embed", "data")
TINY = "model=informer_tiny"  # informer, but for its sizes: once is enough


def based_on(kind: str) -> set[str]:
    """The data sets whose files are built on those of a kind."""
    texts = {name: (CONF / "data" / f"{name}.yaml").read_text() for name in choices("data")}
    found = {kind}
    for _ in range(2):
        found |= {name for name, text in texts.items() if any(f"\n  - {base}\n" in text for base in found)}
    return {f"data={name}" for name in found}


# Of series, of events, of labelled series: one shares nothing with another but its models.
EVENTS = {"task=event", "head=next_event", "embed=event"} | based_on("events")
LABELLED = {"task=classify", "head=pool", "head=flat_label", "embed=series", "embed=flat_series"} | based_on("labelled")


def family(kind: set[str]) -> list[list[str]]:
    """The words of each group that fit each other; an empty kind is that of series."""
    words = [[f"{group}={name}" for name in choices(group)] for group in GROUPS]
    fits = (lambda word: word in kind) if kind else (lambda word: word not in EVENTS | LABELLED)
    own = [[word for word in some if word.startswith("model=") or fits(word)] for some in words]
    return [[word for word in some if word != TINY] for some in own]


FAMILIES = [family(set()), family(EVENTS), family(LABELLED)]
ALL = [words for kind in FAMILIES for words in itertools.product(*kind)]  # a thousand and more: tests/soak


def in_turn(kind: list[list[str]]) -> Iterator[tuple[str, ...]]:
    """Every task × model × head × embedding, each with another data set in turn, so that each choice meets each;
    of events and labelled series all there are."""
    for words in itertools.product(*kind):
        at = [some.index(word) for some, word in zip(kind, words, strict=True)]
        if kind is not FAMILIES[0] or at[4] == (at[0] + at[1] + 2 * at[2] + 3 * at[3]) % len(kind[4]):
            yield words


COMBINATIONS = [words for kind in FAMILIES for words in in_turn(kind)]
OTHERS = [TINY, *(f"{g}={name}" for g in ("optim", "trainer", "track", "experiment") for name in choices(g))]


def test_every_choice_meets_every_data_set() -> None:
    for kind in FAMILIES:
        some = list(in_turn(kind))
        for group in range(len(GROUPS) - 1):
            met = {(words[group], words[-1]) for words in some}
            assert met == set(itertools.product(kind[group], kind[-1])), GROUPS[group]
        assert {words[:-1] for words in some} == set(itertools.product(*kind[:-1]))


def test_series_and_events_are_not_mixed(made: Compose) -> None:
    with pytest.raises(
        UsageError, match="task=event with etth1, which are series; expected events; set task=forecast, or data, e.g."
    ):
        config.check(made("train", "task=event", "data=etth1"))
    with pytest.raises(UsageError, match="task=forecast with taxi, which are events; expected series; set task=event"):
        config.check(made("train", "data=taxi"))
    with pytest.raises(UsageError, match="which are labelled series; expected events; set task=classify, or data, e.g"):
        config.check(made("train", "task=event", "data=gunpoint"))


@pytest.mark.parametrize("words", COMBINATIONS, ids=" ".join)
def test_a_combination_composes(made: Compose, words: tuple[str, ...]) -> None:
    composes(made, words)


def composes(made: Compose, words: tuple[str, ...]) -> None:
    cfg = made("train", *given(*words))
    config.check(cfg)
    plain = config.plain(cfg)
    assert json.loads(json.dumps(plain)) == plain
    for group in ("model", "head", "embed"):
        assert plain[group]["_target_"].startswith(("forecast.models.", "forecast.heads."))


@pytest.mark.parametrize("word", OTHERS)
def test_every_other_choice_composes(made: Compose, word: str) -> None:
    cfg = made("train", word)
    config.check(cfg)
    config.plain(cfg)


@pytest.mark.parametrize("model", choices("model"))
def test_smoke_takes_any_model(made: Compose, model: str) -> None:
    assert config.plain(made("train", "experiment=smoke", f"model={model}"))["task"]["context"] == 48


@pytest.mark.parametrize("name", [name for name in choices("experiment") if name.startswith("informer_ett")])
def test_a_row_of_the_paper_is_what_its_name_says(made: Compose, name: str) -> None:
    plain = config.plain(made("train", f"experiment={name}"))
    assert plain["task"]["horizon"] == int(name.rpartition("_")[2])
    assert plain["data"]["card"] == name.split("_")[1]
    assert plain["data"]["target"] == (["OT"] if "_s_" in name else None)
    assert plain["head"]["label"] <= plain["task"]["context"]
    assert (plain["model"]["d_model"], plain["head"]["d_model"], plain["embed"]["d_model"]) == (512, 512, 512)
    assert (plain["optim"]["schedule"], plain["optim"]["lr"], plain["trainer"]["max_epochs"]) == (
        "halve",
        1e-4,
        6,
    )


@pytest.mark.parametrize(
    ("model", "head", "embed"),
    [("informer", "Generative", "ValueEmbedding"), ("linear", "Timewise", "NoEmbedding")],
)
def test_the_model_chooses_its_head_and_embedding(made: Compose, model: str, head: str, embed: str) -> None:
    cfg = made("train", f"model={model}")
    assert cfg.head._target_ == f"forecast.heads.{head}"
    assert cfg.embed._target_ == f"forecast.models.{embed}"


def test_the_command_line_wins_over_the_model(made: Compose) -> None:
    cfg = made("train", "head=direct", "model=informer", "embed=none")
    assert cfg.head._target_ == "forecast.heads.Direct"
    assert cfg.embed._target_ == "forecast.models.NoEmbedding"


def test_command_line_over_experiment_over_group_over_default(made: Compose, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nseed: 7\nnorm: instance\ntask: {context: 96, horizon: 12}\n"
    text += "model: {d_model: 32}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    words = ["experiment=mine", "task.horizon=6", f"hydra.searchpath=[file://{tmp_path}]"]
    plain = config.plain(made("train", *words))
    assert (plain["seed"], plain["data"]["seed"], plain["norm"]) == (7, 7, "instance")
    assert (plain["task"]["context"], plain["task"]["horizon"]) == (96, 6)
    assert (plain["data"]["context"], plain["data"]["horizon"]) == (96, 6)
    assert (plain["model"]["d_model"], plain["head"]["d_model"], plain["model"]["heads"]) == (32, 32, 4)


def test_segments_of_past_and_future_are_of_one_length(made: Compose) -> None:
    plain = config.plain(made("train", "experiment=segments", "embed.patch=12", "model.d_model=16"))
    assert (plain["embed"]["patch"], plain["embed"]["stride"], plain["head"]["segment"]) == (12, 12, 12)
    assert (plain["model"]["layers"], plain["embed"]["d_model"], plain["task"]["loss"]) == (1, 16, "mae")


@pytest.mark.parametrize("model", ["aaren", "lstm", "none", "tcnca", "transformer"])
def test_the_streaming_preset_makes_a_chain_that_streams(made: Compose, model: str) -> None:
    plain = config.plain(made("train", "experiment=stream", f"model={model}"))
    chain = build.chain(plain, spec(2, context=24), masked=False)
    assert refusal(chain) is None
    assert plain["model"].get("any_phase", True)  # only a stream meets chunks anywhere
    assert not config.plain(made("train", f"model={model}"))["model"].get("any_phase", False)


def test_a_head_of_its_own_width_keeps_it(made: Compose) -> None:
    assert config.plain(made("train", "head.d_model=24"))["head"]["d_model"] == 24


def test_values_keep_their_kind(made: Compose) -> None:
    plain = config.plain(made("train", "trainer.limit_train_batches=1", "trainer.devices=auto", "data.target=OT"))
    assert plain["trainer"]["limit_train_batches"] == 1
    assert isinstance(plain["trainer"]["limit_train_batches"], int)  # one batch; 1.0 is all of them
    assert isinstance(config.plain(made("train"))["trainer"]["limit_train_batches"], float)
    assert (plain["trainer"]["devices"], plain["data"]["target"]) == ("auto", "OT")
    assert type(plain["trainer"]["precision"]) is str


@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        ("evaluate", [], "run is not set"),
        ("predict", ["run=latest", "output=b.csv"], "input is not set"),
        ("backtest", ["run=latest"], "output is not set"),
        ("export", [], "run is not set"),
        ("train", ["data=series"], "data.path is not set"),
        ("train", ["+foo=1"], "foo was added"),
        (
            "train",
            ["+trainer.max_epoch=1"],
            "max_epoch was added; expected no new key; did you mean max_epochs",
        ),
        ("train", ["~seed"], "seed was removed"),
        ("train", ["seed=${sed}"], "cannot be resolved"),
    ],
)
def test_what_is_missing_or_added_is_refused(made: Compose, verb: str, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        config.check(made(verb, *words))


@pytest.mark.parametrize("verb", CONFIGURED)
def test_help_shows_the_defaults_that_are_composed(made: Compose, verb: str) -> None:
    cfg: Any = made(verb)
    for key, about in PAGES[verb].keys:
        *path, last = key.split(".")
        node = cfg
        for part in path:
            node = node[part]
        value = node._get_node(last)._value()
        said = shown(default(verb, key))
        assert about
        assert float(said) == value if isinstance(value, float) else said == shown(value)


def test_help_knows_every_group_and_its_default(made: Compose) -> None:
    assert {group for verb in CONFIGURED for group in defaults(verb)} == set(groups())
    for verb in ("train", "stream"):
        chosen = made(verb, hydra=True).hydra.runtime.choices
        assert {group: chosen[group] for group in defaults(verb)} == defaults(verb)

"""Proofs of mechanism in small (`benchmarks.proofs` has them at length): what encoders can do on tasks made by a rule.

Every training follows from its seed, and every bound lies far from what was found.
"""

import pytest
import torch
from torch import Generator

from benchmarks import proofs, tasks
from benchmarks.learn import learn_series, learn_tokens, namer, registered
from forecast import models
from forecast.models import Encoder, StreamingEncoder

WORDS = proofs.series_words()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_encoder_has_a_config_and_so_its_proof():
    exported = (getattr(models, name) for name in models.__all__)
    encoders = {kind for kind in exported if issubclass(kind, Encoder)} - {Encoder, StreamingEncoder}
    assert {keys["_target_"].rpartition(".")[2] for keys in registered().values()} == {k.__name__ for k in encoders}
    assert set(registered()) <= set(WORDS)


# The tasks themselves -------------------------------------------------------------------------------------------------


def test_a_question_of_recall_is_answered_by_the_value_behind_its_key():
    made = tasks.recall(50, 64, 8, Generator().manual_seed(0))
    for tokens, target in zip(made.tokens.tolist(), made.target.tolist(), strict=True):
        pairs = {tokens[i]: tokens[i + 1] for i in range(0, 16, 2)}
        assert set(pairs) == set(range(8)) and tokens[16:56] == [16] * 40
        assert target[:56] == [tasks.IGNORE] * 56
        assert [8 + answer for answer in target[56:]] == [pairs[key] for key in tokens[56:]]


def test_a_copy_asks_for_the_first_symbol():
    made = tasks.copy(50, 20, 8, Generator().manual_seed(0))
    assert made.tokens.shape == (50, 21) and (made.tokens[:, -1] == 8).all()
    assert made.target[:, -1].equal(made.tokens[:, 0]) and (made.target[:, :-1] == tasks.IGNORE).all()


def test_a_level_jumps_where_it_is_said_to():
    s, g = tasks.spec(48, 12), Generator()
    flat = tasks.shift(9, s, g.manual_seed(0))
    jumped = tasks.shift(9, s, g.manual_seed(0), jump=3.0, since=5)
    step = (jumped.past - flat.past)[..., 0].abs()
    torch.testing.assert_close(step, (torch.arange(48) >= 43) * torch.full((9, 1), 3.0))
    torch.testing.assert_close((jumped.future - flat.future).abs(), torch.full((9, 12, 1), 3.0))
    assert tasks.end(jumped, 20).past.equal(jumped.past[:, -20:])


# The proofs -----------------------------------------------------------------------------------------------------------


def recalled(encoder: str, steps: int) -> float:
    model = namer(proofs.RECALL[encoder], 32, 9, 4, 1)
    return learn_tokens(model, lambda b, g: tasks.recall(b, 32, 4, g), steps=steps).accuracy


@pytest.mark.parametrize("encoder", ["tcnca, simple", "transformer"])
def test_attention_recalls_by_content(encoder):
    assert recalled(encoder, 400) > 0.95


def test_without_a_mixer_recall_is_chance():
    assert recalled("none", 100) < 0.4  # a quarter


def copied(encoder: str, steps: int) -> float:
    return proofs.copy(proofs.COPY[encoder], 1, distance=24, steps=steps)["accuracy"]


@pytest.mark.parametrize("encoder", ["tcnca", "transformer", "aaren"])
def test_a_mixer_copies_from_afar(encoder):
    assert copied(encoder, 200) > 0.95


def test_without_a_mixer_a_copy_is_chance():
    assert copied("none", 100) < 0.3  # an eighth


@pytest.mark.parametrize("norm", ["none", "instance", "rolling half_life=12"])
def test_a_norm_of_the_series_own_recovers_from_a_level_shift(norm):
    words = f"{WORDS['lstm']} {proofs.STREAMS} norm={norm}"
    found = proofs.shift(words, 1, context=48, horizon=12, steps=150)
    for way in ("windowed", "streamed"):
        errors = found.get(way)
        if errors is None:  # a window's statistics do not stream
            assert norm == "instance" and way == "streamed"
            continue
        assert errors["0"] < 0.05 and errors["6"] > 3  # variance of the series: 0.5
        if norm == "none":
            assert errors["96"] > 3
        else:
            assert errors["96"] < 0.1


@pytest.mark.parametrize("encoder", registered())
def test_a_sine_without_noise_is_learned_to_a_hundredth(encoder):
    s = tasks.spec(36, 24)
    chain = learn_series(f"{WORDS[encoder]} norm=none", s, lambda b, g: tasks.sine(b, s, g), steps=150)
    assert proofs.mse(chain, tasks.sine(256, s, Generator().manual_seed(9))) < 1e-2

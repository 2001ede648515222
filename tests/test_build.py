"""From config to objects: a closed table of names, typed keys, one-line errors."""

import pytest
import torch

from forecast import build
from forecast.errors import UsageError
from tests.problems import batch, spec

S = spec()
MODEL = {"_target_": "forecast.models.Informer", "d_model": 16, "heads": 2, "d_ff": 16}


def config(**change):
    return {
        "seed": 1, "norm": "none", "model": MODEL,
        "embed": {"_target_": "forecast.models.ValueEmbedding", "d_model": 16},
        "head": {"_target_": "forecast.heads.Direct"}, "task": {"loss": "mse"},
        "optim": {"_target_": "torch.optim.Adam", "lr": 0.01, "betas": [0.9, 0.99], "schedule": "cosine", "warmup": 0},
        "trainer": {"precision": "32-true", "clip": 1.0},
        **change,
    }  # fmt: skip


def test_a_chain_is_built_and_forecasts():
    chain = build.chain(config(), S, masked=False)
    assert chain(batch(S, dtype=torch.float32)).shape == (4, 8, 3)
    assert build.parameters(chain) > 1000


@pytest.mark.parametrize("target", [
    "os.system", "builtins.eval", "pandas.read_pickle", "torch.load", "torch.hub.load",
    "torch.optim.optimizer.torch.load",
    "forecast.build.subprocess.run", "forecast.models.informer.torch.load", "joblib.load", None, 7,
])  # fmt: skip
def test_nothing_outside_the_table_is_built(target):
    with pytest.raises(UsageError, match="_target_"):
        build.make({"_target_": target, "x": "echo"}, "model")


@pytest.mark.parametrize(("key", "value", "message"), [
    ("d_modl", 3, "model.d_modl is no key of Informer; did you mean d_model"),
    ("d_model", "wide", "model.d_model is 'wide'; expected a whole number"),
    ("d_model", True, "expected a whole number"),
    ("dropout", "much", "expected a number"),
    ("attention", "sparse", "expected prob | full"),
    ("layers", 2, "expected a list of a whole number"),
    ("distil", 1, "expected true or false"),
    ("heads", 3, "not a multiple of heads 3"),
])  # fmt: skip
def test_a_wrong_key_or_value_is_named(key, value, message):
    with pytest.raises(UsageError, match="^[^\n]*$") as caught:
        build.chain(config(model={**MODEL, key: value}), S, masked=False)
    assert message in str(caught.value)


def test_widths_that_do_not_meet_are_refused():
    with pytest.raises(UsageError, match="width 3, the encoder takes 16; set embed=value"):
        build.chain(config(embed={"_target_": "forecast.models.NoEmbedding"}), S, masked=False)


def test_unknown_norm_and_loss():
    with pytest.raises(UsageError, match="did you mean instance"):
        build.chain(config(norm="instnce"), S, masked=False)
    with pytest.raises(UsageError, match="mse, mae, huber"):
        build.output(config(task={"loss": "msle"}))
    with pytest.raises(UsageError, match="did you mean normal"):
        build.output(config(task={"output": "norml"}))


def test_the_optimiser_gets_its_parameters():
    layer = torch.nn.Linear(2, 2)
    made = build.optimiser(config())(layer.parameters())
    assert isinstance(made, torch.optim.Adam)
    assert made.param_groups[0]["lr"] == 0.01
    assert made.param_groups[0]["betas"] == (0.9, 0.99)

"""A small training on a task made by a rule: chains and encoders by the project's own configs, a fresh batch each step.

Everything follows from the seed. One thread, no validation: what a rule makes does not run out.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import torch
import yaml
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from benchmarks.tasks import IGNORE, Tokens
from forecast import build, config
from forecast.heads import Chain
from forecast.models import Encoder
from forecast.models.attention import set_step
from forecast.models.embed import Positions
from forecast.types import SeriesBatch, Spec
from forecast.where import CONF

WARMUP, EVERY = 50, 50  # steps the learning rate rises; steps between two looks at the accuracy
SOLVED = 0.99


def registered() -> dict[str, dict[str, Any]]:
    """The encoders of conf/model by name, with their own keys. A file without a target is another one's sizes."""
    found = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in Path(CONF, "model").glob("*.yaml")}
    return {name: keys for name, keys in sorted(found.items()) if "_target_" in keys}


def plain(words: str) -> dict[str, Any]:
    """What `forecast train WORDS` composes, without dropout: what is to be learned has no noise to overfit."""
    name = next(word.removeprefix("model=") for word in words.split() if word.startswith("model="))
    still = ["model.dropout=0"] if "dropout" in registered()[name] else []
    config.register()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return config.plain(hydra.compose("train", [*words.split(), *still]))


class Namer(nn.Module):
    """Symbols (B, L) -> scores of V answers (B, L, V): a table with sin/cos positions, the encoder, a linear map."""

    def __init__(self, encoder: Encoder, symbols: int, answers: int) -> None:
        super().__init__()
        self.table, self.position = nn.Embedding(symbols, encoder.d_model), Positions(encoder.d_model)
        self.encoder, self.answer = encoder, nn.Linear(encoder.d_model, answers)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) + self.position(tokens.shape[1])
        mask, dt = torch.ones_like(tokens, dtype=torch.bool), torch.ones_like(x[..., 0])
        return self.answer(self.encoder(x, mask, dt))


class Learned(NamedTuple):
    """How a token task went."""

    accuracy: float  # of 256 fresh sequences, after the last step
    steps: int  # taken: to 99 %, or all that were allowed
    seconds: float  # of this process


def namer(words: str, width: int, symbols: int, answers: int, seed: int) -> Namer:
    """An encoder as `model=…` builds it, `width` wide, between symbols and answers."""
    torch.manual_seed(seed)
    own = "" if "model=none" in words.split() else f"model.d_model={width}"
    node = plain(f"{words} {own}")["model"]
    return Namer(build.make(node, "model", d_model=width, seed=seed), symbols, answers)


def learn_tokens(
    model: nn.Module, task: Callable[[int, Generator], Tokens], *, steps: int, batch: int = 32, lr: float = 3e-3,
    seed: int = 1,
) -> Learned:  # fmt: skip
    """Train until 99 % of fresh questions are answered, at most `steps`; Adam, its rate constant after the warm-up."""
    began = time.process_time()
    test, g = task(256, Generator().manual_seed(seed + 1000)), Generator().manual_seed(seed)
    optimiser, taken, found = torch.optim.Adam(model.parameters(), lr=lr), 0, 0.0
    for taken in training(model, optimiser, steps, lambda step: lr * min(1.0, (step + 1) / WARMUP)):
        made = task(batch, g)
        F.cross_entropy(model(made.tokens).flatten(0, 1), made.target.flatten(), ignore_index=IGNORE).backward()
        if taken % EVERY == 0 or taken == steps:
            found = accuracy(model, test)
            if found >= SOLVED:
                break
    return Learned(found, taken, time.process_time() - began)


def training(
    model: nn.Module, optimiser: torch.optim.Optimizer, steps: int, rate: Callable[[int], float]
) -> Iterator[int]:
    """Counts the steps from 1; what the caller's gradients say of a step is done before the next begins."""
    model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        set_step(model, step)
        optimiser.zero_grad()
        yield step + 1
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


@torch.no_grad()
def accuracy(model: nn.Module, test: Tokens) -> float:
    """Share of the questions that are answered rightly."""
    model.eval()
    answers, asked = model(test.tokens).argmax(-1), test.target != IGNORE
    model.train()
    return (answers[asked] == test.target[asked]).double().mean().item()


def learn_series(
    words: str, spec: Spec, task: Callable[[int, Generator], SeriesBatch], *, steps: int, batch: int = 32,
    lr: float = 5e-3, seed: int = 1,
) -> Chain:  # fmt: skip
    """Train the chain that `forecast train WORDS` builds, by its own loss; Adam, its rate falling to 0 as a cosine."""
    torch.manual_seed(seed)
    made = plain(f"{words} task.context={spec.context} task.horizon={spec.horizon} seed={seed}")
    chain = build.chain(made, spec, masked=False)
    optimiser, g = build.optimiser(made)(chain.parameters()), Generator().manual_seed(seed)

    def rate(step: int) -> float:
        return lr * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))

    for _ in training(chain, optimiser, steps, rate):
        windows = task(batch, g)
        chain.output.loss(chain(windows), windows.future, None).backward()
    return chain.eval()

"""What a request to a model may hold, by its task: the columns of the training, its clock, its only series."""

from typing import Any, Literal, NamedTuple

from forecast.data.card import Channel
from forecast.data.event_recipe import EventRecipe
from forecast.data.label_recipe import LabelRecipe
from forecast.data.recipe import Recipe

Clock = Literal["stamps", "numbers", "none"]
TASKS = {"forecast": "/v1/forecast", "classify": "/v1/classify", "event": "/v1/events"}  # task -> where it is asked


class Shape(NamedTuple):
    """Names that a request uses -> columns of the table that is made of it."""

    task: str
    numbers: dict[str, str]  # channels: a number or null at each step
    others: dict[str, str]  # past covariates: numbers or text
    known: dict[str, str]  # covariates that are known ahead
    static: dict[str, str]  # facts of a series
    id: str | None  # the column of names; None: there is one series only
    alone: str  # what that one is called
    time: str | None  # the column of times
    clock: Clock
    mark: str | None = None  # the column of marks, of events
    freq: str | None = None
    zone: str | None = None
    horizon: int = 0  # steps ahead
    needed: tuple[str, ...] = ()  # of numbers, those that a request must hold

    @property
    def one(self) -> str | None:
        """The only channel, which a request may call y."""
        return next(iter(self.numbers)) if len(self.numbers) == 1 and not self.others else None


def shape_of(task: str, recipe: Any) -> Shape:
    if task == "forecast":
        return _series(recipe)
    return _events(recipe) if task == "event" else _labelled(recipe)


def _series(recipe: Recipe) -> Shape:
    card, spec = recipe.card, recipe.spec

    def named(role: str) -> dict[str, str]:
        return {c.name: c.source for c in card.channels if c.role == role and c.name not in spec.channels}

    by_name: dict[str, Channel] = {c.name: c for c in card.channels}
    numbers = {name: by_name[name].source if name in by_name else name for name in spec.channels}
    return Shape(
        "forecast", numbers, named("past_only"), named("known_future"), named("static"), card.id, card.name,
        card.time.column, "stamps", freq=spec.freq, zone=card.time.zone, horizon=spec.horizon, needed=spec.channels,
    )  # fmt: skip


def _events(recipe: EventRecipe) -> Shape:
    card = recipe.card
    beside = {name: name for name in card.covariates}
    return Shape(
        "event", beside, {}, {}, {}, card.id, card.name, card.time, "stamps" if recipe.stamps else "numbers",
        mark=card.mark, needed=tuple(beside),
    )  # fmt: skip


def _labelled(recipe: LabelRecipe) -> Shape:
    card, channels = recipe.card, recipe.spec.channels
    clock: Clock = "none" if card.time is None else "stamps" if recipe.stamps else "numbers"
    return Shape(
        "classify", {name: name for name in channels}, {}, {}, {}, card.id, card.name, card.time, clock, needed=channels
    )

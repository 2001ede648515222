"""What the columns of a data set are for: `data.known`, `data.static` and `data.categories` over what a card says."""

from collections.abc import Sequence
from dataclasses import replace

from forecast.data.card import Card, Channel
from forecast.errors import UsageError


def words(value: str | Sequence[str] | None) -> list[str] | None:
    """A name or a list of names as a list."""
    return [value] if isinstance(value, str) else None if value is None else list(value)


def with_roles(
    card: Card,
    *,
    known: Sequence[str] | None = None,
    static: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
) -> Card:
    """The card with the named columns as covariates: instead of those of its own, where a list is given.

    A name that is no channel yet becomes one; whether a file has it is found as it is read. UsageError where a name
    has two roles, or a category none.
    """
    if both := [name for name in known or () if name in (static or ())]:
        raise UsageError(f"data.known and data.static both name '{both[0]}'", "expected one role", "drop one")
    channels = list(card.channels)
    for role, names in (("known_future", known), ("static", static)):
        if names is None:
            continue
        channels = [c for c in channels if c.role != role or c.name in names]
        at = {c.name: i for i, c in enumerate(channels)}
        for name in names:
            if name in at:
                channels[at[name]] = replace(channels[at[name]], role=role)
            else:
                channels.append(Channel(name, role))
    if any(c.role == "target" for c in card.channels) and not any(c.role == "target" for c in channels):
        raise UsageError("data.known and data.static leave no target", "expected one to forecast", "name fewer columns")
    covariates = [c.name for c in channels if c.role != "target"]
    if odd := [name for name in categories or () if name not in covariates]:
        has = ", ".join(covariates) or "there are none"
        raise UsageError(
            f"data.categories names '{odd[0]}'", f"expected covariates: {has}", "name it in data.known too"
        )
    kinds = {name: "category" for name in categories or ()}
    return replace(card, channels=tuple(replace(c, kind=kinds.get(c.name, c.kind)) for c in channels))


def narrow(card: Card, channels: Sequence[str], targets: int, covariates: Sequence[str] = ()) -> Card:
    """The card of the named channels only, the first `targets` of which are forecast, and the covariates beside."""
    by_name = {c.name: c for c in card.channels}
    roles = ["target" if i < targets else "past_only" for i in range(len(channels))]
    kept = tuple(replace(by_name[n], role=r) for n, r in zip(channels, roles, strict=True))
    return replace(card, channels=(*kept, *(by_name[name] for name in covariates)))

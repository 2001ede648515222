"""What `forecast data` is asked about: series, events or labelled series; a known data set, a card or a file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from forecast.data.card import EVENTS, LABELLED, WORDS, Card, card_file, card_kind, card_names, load_card, save_card
from forecast.data.event_card import EventCard, load_event_card
from forecast.data.event_card import only_described as event_only_described
from forecast.data.label_card import LabelCard, load_label_card
from forecast.data.label_card import only_described as label_only_described
from forecast.errors import UsageError, nearest

KINDS: Final = ("series", EVENTS, LABELLED)
C = TypeVar("C", Card, EventCard, LabelCard)


def kind_of(name: str, words: Sequence[str]) -> str:
    """What a data set, a card or a file is of: by its card, by kind=, or by the ending .ts; else series."""
    kinds = [word.partition("=")[2] for word in words if word.startswith("kind=")]
    if kinds and kinds[-1] not in KINDS:
        raise UsageError(f"kind is '{kinds[-1]}'", nearest(kinds[-1], KINDS), "write kind=events or kind=labelled")
    known = card_kind(name) if name in card_names() or (own := card_file(name)) and own.is_file() else None
    if kinds and known not in (None, kinds[-1]):
        raise UsageError(f"'{name}' is a data set of {WORDS[str(known)]}", do=f"leave out kind={kinds[-1]}")
    usual = LABELLED if Path(name).suffix.lower() == ".ts" else "series"
    return known or (kinds or [usual])[-1]


def with_files(name: str) -> Card | EventCard | LabelCard:
    """The card of a known data set, or of a YAML file; DataError where it only describes."""
    kind = card_kind(name)
    if kind == EVENTS:
        events = load_event_card(name)
        if not events.files:
            raise event_only_described(events)
        return events
    if kind == LABELLED:
        labelled = load_label_card(name)
        if not labelled.files:
            raise label_only_described(labelled)
        return labelled
    return load_card(name)


def described(
    name: str,
    options: dict[str, Any],
    kind: str,
    load: Callable[[str], C],
    infer: Callable[[Path], C],
    more: Sequence[Path] = (),
) -> tuple[C, Path | None, Path | None]:
    """A known card, or one from a YAML file (then its folder too), or one inferred from a file (then its path).

    `options` are those of a file, and `save`, which is taken out; `more`: the other files of the card that is inferred.
    """
    save, own = options.pop("save", None), card_file(name)
    if name in card_names() or own:
        if options or save:
            raise UsageError(
                f"'{name}' has a card, which takes no '{next(iter(options), 'save')}'",
                do="leave it out, or give the file of the data",
            )
        return load(name), None, own and own.parent
    path = Path(name)
    if not path.exists():
        raise UsageError(
            f"'{name}' is neither a data set nor a file",
            nearest(name, card_names(None if kind == "series" else kind)),
            "see `forecast data list`",
        )
    card = infer(path)
    if save:
        _save(card, [path.absolute(), *more], save)
    return card, path, None


def _save(card: C, paths: Sequence[Path], save: str) -> None:
    """Write a card that names its files from the card's folder, or else from the start directory."""
    target = card_file(save)
    if target is None:
        raise UsageError(f"save is '{save}'", "expected a name ending in .yaml", "write save=card.yaml")
    folders = (target.parent, Path.cwd())
    below = next((folder for folder in folders if all(path.is_relative_to(folder) for path in paths)), None)
    names = [path.relative_to(below).as_posix() if below else path.name for path in paths]
    files = tuple(replace(file, path=name) for file, name in zip(card.files, names, strict=True))
    new = dict(zip([file.path for file in card.files], names, strict=True))
    splits = {key: new.get(value, value) if isinstance(value, str) else value for key, value in card.splits.items()}
    save_card(replace(card, files=files, splits=splits), target)
    also = f" data.test={paths[1]}" if len(paths) > 1 else ""
    print(f"saved: {save}{'' if below else f' (train with data.card={save} data.path={paths[0]}{also})'}")


def options_of(words: Sequence[str], known: Sequence[str], what: str) -> dict[str, str]:
    """KEY=VALUE words of a kind that `what` names, without kind=; UsageError for another key and for no value."""
    options = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise UsageError(f"'{key}' is not an option of `forecast data` for {what}", nearest(key, known))
        if not value:
            raise UsageError(f"{key} has no value", f"expected {key}=VALUE", "see `forecast data --help`")
        options[key] = value
    options.pop("kind", None)
    return options

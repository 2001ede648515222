"""Files → batches: cards, readers, regular tables, splits, scalers, windows; tables of events; labelled series.

Names are imported when first used: reading a card or a file must not wait for torch or Lightning.
(The functions `clock` and `split` share the names of their modules: import them from there.)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecast.data.batch import Gather, batches
    from forecast.data.card import Card, card_kind, card_names, describe, load_card, read_card, save_card
    from forecast.data.clock import fields_for
    from forecast.data.event_batch import EventGather, event_batches
    from forecast.data.event_card import (
        EventCard,
        describe_events,
        infer_event_card,
        load_event_card,
        read_event_card,
        read_event_frames,
    )
    from forecast.data.event_split import EventSplit, Part, split_events, split_files, whole
    from forecast.data.events import EventColumns, Events, read_events, recode
    from forecast.data.folder_module import FolderModule
    from forecast.data.freq import infer_freq, parse_freq
    from forecast.data.infer import infer_card
    from forecast.data.label_batch import LabelGather
    from forecast.data.label_card import (
        LabelCard,
        infer_label_card,
        load_label_card,
        read_label_card,
        read_label_frames,
    )
    from forecast.data.labelled import LabelColumns, Labelled, read_labelled
    from forecast.data.module import SeriesModule
    from forecast.data.read import read_series
    from forecast.data.recipe import Recipe
    from forecast.data.scale import Scaler
    from forecast.data.split import Split
    from forecast.data.table import Gap, Series, apply_gaps, extend, gaps, select, summary
    from forecast.data.window import Windows, last_windows, windows

_HOME = {
    "batch": ("Gather", "batches"),
    "card": ("Card", "card_kind", "card_names", "describe", "load_card", "read_card", "save_card"),
    "clock": ("fields_for",),
    "event_batch": ("EventGather", "event_batches"),
    "event_card": (
        "EventCard",
        "describe_events",
        "infer_event_card",
        "load_event_card",
        "read_event_card",
        "read_event_frames",
    ),
    "event_split": ("EventSplit", "Part", "split_events", "split_files", "whole"),
    "events": ("EventColumns", "Events", "read_events", "recode"),
    "folder_module": ("FolderModule",),
    "freq": ("infer_freq", "parse_freq"),
    "infer": ("infer_card",),
    "label_batch": ("LabelGather",),
    "label_card": ("LabelCard", "infer_label_card", "load_label_card", "read_label_card", "read_label_frames"),
    "labelled": ("LabelColumns", "Labelled", "read_labelled"),
    "module": ("SeriesModule",),
    "read": ("read_series",),
    "recipe": ("Recipe",),
    "scale": ("Scaler",),
    "split": ("Split",),
    "table": ("Gap", "Series", "apply_gaps", "extend", "gaps", "select", "summary"),
    "window": ("Windows", "last_windows", "windows"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "read_event_frames",
    "read_event_card",
    "load_event_card",
    "infer_event_card",
    "describe_events",
    "card_kind",
    "EventCard",
    "Card",
    "EventColumns",
    "EventGather",
    "EventSplit",
    "Events",
    "FolderModule",
    "Gap",
    "Gather",
    "LabelCard",
    "LabelColumns",
    "LabelGather",
    "Labelled",
    "Part",
    "Recipe",
    "Scaler",
    "Series",
    "SeriesModule",
    "Split",
    "Windows",
    "apply_gaps",
    "batches",
    "card_names",
    "describe",
    "event_batches",
    "extend",
    "fields_for",
    "gaps",
    "infer_card",
    "infer_freq",
    "infer_label_card",
    "last_windows",
    "load_card",
    "load_label_card",
    "parse_freq",
    "read_card",
    "read_events",
    "read_label_card",
    "read_label_frames",
    "read_labelled",
    "read_series",
    "recode",
    "save_card",
    "select",
    "split_events",
    "split_files",
    "summary",
    "whole",
    "windows",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'forecast.data' has no attribute '{name}'")
    return getattr(import_module(f"forecast.data.{_MODULE_OF[name]}"), name)

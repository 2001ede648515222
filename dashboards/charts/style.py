"""Colours, numbers and words of the report, and the way from a matplotlib figure to inline SVG or PNG.

Every colour is a role with a light and a dark value. Figures are drawn in the light values; in the page each
becomes a CSS variable, so one drawing serves both colour schemes. The hues are those of Okabe and Ito, dark
or light enough to be read on their background; rows differ in line style too, never in colour alone.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS: dict[str, tuple[str, str]] = {  # role: (light, dark); the light values must all differ
    "card": ("#ffffff", "#171c24"),
    "ink": ("#18202b", "#e8ecf2"),
    "muted": ("#566170", "#a3aebc"),
    "grid": ("#e3e7ed", "#2b3440"),
    "shade": ("#f2f5f9", "#1f2630"),
    "model": ("#0a67ad", "#5fb3f9"),
    "seasonal": ("#d35c00", "#ff9a52"),
    "ridge": ("#07866a", "#3fd0a8"),
    "last": ("#a8508a", "#e79fce"),
    "other": ("#7d6608", "#dcc04f"),
}
FAMILY = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif'
LIGHT = {role: light for role, (light, _) in COLOURS.items()}
_VARIABLE = {light: f"var(--{role})" for role, (light, _) in COLOURS.items()}

_RC: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": 8.5,
    "axes.edgecolor": LIGHT["grid"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.7,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # a channel may be called "$"
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": LIGHT["card"],
    "path.simplify_threshold": 0.3,
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's own font
}


@contextmanager
def styled(salt: str = "") -> Iterator[None]:
    """Our settings while a figure is made or saved; a letter that the font lacks is no reason to warn."""
    with mpl.rc_context({**_RC, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        # Words that leave no room for axes: they are drawn over each other, and all is still said in the caption.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        yield


def role_of(name: str, kind: str = "naive") -> str:
    """The colour role of a row in the score table."""
    if kind in ("model", "baseline"):  # of a baseline the name may hold any word
        return "model" if kind == "model" else "other"
    words = name.lower()
    known = {"season": "seasonal", "last": "last", "ridge": "ridge"}
    return next((role for word, role in known.items() if word in words), "other")


def png(figure: Figure, dpi: int = 120) -> bytes:
    """The figure as a PNG file, on white."""
    with styled():
        out = io.BytesIO()
        FigureCanvasAgg(figure).print_figure(out, format="png", dpi=dpi)
    return out.getvalue()


def svg(figure: Figure, name: str, alt: str, css: str = "") -> str:
    """The figure as an `<svg>` element for a page, its colours as CSS variables; `name` keeps ids apart."""
    with styled(name):
        out = io.StringIO()
        FigureCanvasAgg(figure).print_figure(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"/>', "", text)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # ids nothing refers to
    text = text.replace("xlink:href", "href")
    text = _numbered(text, name)
    text = re.sub(r' (?:d|transform|x|y|width|height)="[^"]*"', _rounded, text)  # coordinates only, never labels
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: _VARIABLE.get(m[0], m[0]), text)
    text = re.sub(r" ?font-family: [^;\"]*;?", "", text)
    text = re.sub(r"\n\s*", "\n", text)
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg class="{escape(css)}" role="img" aria-label="{escape(alt)}" {box[0] if box else ""}>'
    return head + text[text.index(">") + 1 :].strip()


def _numbered(text: str, name: str) -> str:
    """Ids by order instead of hashes of places down to the last bit, which no solver of a layout promises to repeat."""
    ids: dict[str, str] = {}

    def one(found: re.Match[str]) -> str:
        return found[1] + ids.setdefault(found[2], f"p{len(ids)}-{name}")

    def told(tag: re.Match[str]) -> str:
        return re.sub(r'( id="| href="#|url\(#)(\w+)', one, tag[0])

    return re.sub(r"<[^<>]*>", told, text)


def _rounded(attribute: re.Match[str]) -> str:
    """A tenth of a point is finer than the eye; it halves the size."""
    return re.sub(r"-?\d+\.\d{2,}", lambda n: f"{float(n[0]):.1f}".removesuffix(".0"), attribute[0])


def number(value: object, digits: int = 4) -> str:
    """`digits` significant digits, trailing zeros kept, thousands grouped; an en dash for no number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if size >= 9 or size < -4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa}×10{raised}".replace("-", "−")
    return f"{value:,.{max(digits - 1 - size, 0)}f}".replace("-", "−")


def count(value: object) -> str:
    """A whole number with its thousands grouped."""
    return f"{value:,d}" if isinstance(value, int) and not isinstance(value, bool) else number(value)


def short(name: str, most: int) -> str:
    """A name, or both ends of it: many names begin alike and differ in a number behind."""
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"


def tick(value: float, _: object = None) -> str:
    """A number on an axis: as short as it can be."""
    plain = 1e4 <= abs(value) < 1e9
    return (f"{value:,.0f}" if plain else f"{value:,.4g}").replace("-", "−")


def duration(seconds: object) -> str:
    """Seconds in words: `41.2 s`, `3 min 12 s`, `2 h 05 min`."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{number(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


_STEPS = {"s": "second", "min": "minute", "h": "hour", "D": "day", "B": "business day", "W": "week"}
_STEPS |= {"MS": "month", "ME": "month", "QS": "quarter", "QE": "quarter", "YS": "year", "YE": "year"}


def steps(n: object, freq: str) -> str:
    """`24` steps of `h` in words: "24 hours"; of `15min`: "96 steps of 15 minutes"."""
    found = re.fullmatch(r"(\d*)([A-Za-z]+)(-\w+)?", freq or "")
    word = _STEPS.get(found[2]) if found else None
    if not isinstance(n, int):
        return "an unknown number of steps"
    if not found or not word:
        return f"{n:,d} step{'s' * (n != 1)}"
    each = int(found[1] or 1)
    if each == 1:
        return f"{n:,d} {word}{'s' * (n != 1)}"
    return f"{n:,d} step{'s' * (n != 1)} of {each} {word}s"


def palette() -> str:
    """The colours as CSS variables: of the theme that `<html data-theme>` names; light on paper."""
    more = {
        "page": ("#f4f6f9", "#0e1218"),
        "good": ("#07705a", "#3fd0a8"),
        "bad": ("#b3400a", "#ff9a52"),
        "line": ("#8a94a3", "#667281"),  # borders of what can be operated: 3 to 1 on their background
    }
    light, dark = (";".join(f"--{role}:{pair[k]}" for role, pair in (COLOURS | more).items()) for k in (0, 1))
    return (
        f":root{{color-scheme:light;{light}}}:root[data-theme=dark]{{color-scheme:dark;{dark}}}"
        f"@media print{{:root,:root[data-theme=dark]{{color-scheme:light;{light}}}}}"
    )

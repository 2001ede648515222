"""The bricks of the page: everything that comes from a file passes `text` before it becomes HTML."""

from collections.abc import Iterable, Sequence
from html import escape

from forecast.dashboards.charts.chart import Chart
from forecast.dashboards.charts.sheet import NARROW, across, draw
from forecast.dashboards.charts.style import COLOURS, svg

POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the browser itself refuses scripts and requests


def text(value: object) -> str:
    """Any value as harmless HTML."""
    return escape(str(value))


def section(key: str, title: str, *parts: str) -> str:
    return f'<section id="{key}" aria-labelledby="{key}-h">\n<h2 id="{key}-h">{text(title)}</h2>\n' + (
        "\n".join(part for part in parts if part) + "\n</section>"
    )


def note(words: str) -> str:
    return f'<p class="note">{text(words)}</p>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A definition list; pairs without a value are left out."""
    rows = [f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in pairs if v not in (None, "", [], {})]
    return f'<dl class="facts">{"".join(rows)}</dl>' if rows else ""


def fold(title: str, *parts: str) -> str:
    return f"<details><summary>{text(title)}</summary>\n" + "\n".join(parts) + "\n</details>"


def code(words: str, label: str) -> str:
    return f'<pre tabindex="0" aria-label="{text(label)}"><code>{text(words)}</code></pre>'


def table(caption: str, head: str, body: Sequence[str], kind: str = "") -> str:
    """A table that scrolls inside its box; `head` and `body` are rows of ready HTML. `kind` dense: many columns."""
    return (
        f'<div class="{f"scroll {kind}".strip()}" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption><thead>{head}</thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def swatch(role: str) -> str:
    return f'<span class="key" style="background:var(--{role})" aria-hidden="true"></span>'


def drawing(chart: Chart) -> str:
    """A figure, drawn for wide and for narrow pages (the other one is hidden by the style sheet)."""
    wide = svg(draw(chart, across(chart)), chart.name, chart.alt, "wide")
    narrow = svg(draw(chart, NARROW), f"{chart.name}-narrow", chart.alt, "narrow")
    return (
        f'<figure class="{"half" if chart.half else "full"}" id="figure-{chart.name}">'
        f"<h3>{text(chart.title)}</h3>"
        f"{wide}{narrow}<figcaption>{text(chart.caption)}</figcaption></figure>"
    )


def page(title: str, parts: Iterable[str]) -> str:
    """The whole document: no script, no font, no image, no request."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{text(title)}</title>\n<style>{_colours()}{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _colours() -> str:
    light = ";".join(f"--{role}:{pair[0]}" for role, pair in COLOURS.items())
    dark = ";".join(f"--{role}:{pair[1]}" for role, pair in COLOURS.items())
    return (
        f":root{{color-scheme:light dark;--page:#f4f6f9;--good:#07705a;--bad:#b3400a;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{--page:#0e1218;--good:#3fd0a8;--bad:#ff9a52;{dark}}}}}\n"
        f"@media print{{:root{{--page:#fff;--good:#07705a;--bad:#b3400a;{light}}}}}\n"
    )


CSS = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 var(--font);overflow-wrap:break-word;
 --font:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif;
 --mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-family:var(--font)}
header,main,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:clamp(1.6rem,1.1rem + 2.4vw,2.35rem);line-height:1.15;letter-spacing:-.015em;margin:0 0 .35em}
h2{font-size:1.3rem;line-height:1.3;letter-spacing:-.01em;margin:0 0 .75rem}
h3{font-size:1rem;margin:0 0 .5rem}
p{margin:0 0 .75rem}
a{color:var(--model)}
.eyebrow{color:var(--muted);font-size:.85rem;margin:0 0 .5rem}
.lead{font-size:clamp(1.05rem,.98rem + .4vw,1.25rem);line-height:1.45;max-width:46em;margin:0 0 .4rem}
.verdict{color:var(--muted);max-width:52em}
.good{color:var(--good)}.bad{color:var(--bad)}
.meta{display:flex;flex-wrap:wrap;gap:.15rem 1.4rem;margin:1.1rem 0 0;padding:0;font-size:.9rem}
.meta div{display:flex;gap:.4rem}
.meta dt{color:var(--muted)}
.meta dd{margin:0;font-variant-numeric:tabular-nums}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;
 margin:1.4rem 0 0;padding:0}
.tiles div{background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:14px 16px;
 display:flex;flex-direction:column}
.tiles dt{color:var(--muted);font-size:.85rem}
.tiles dd{margin:auto 0 0;font-size:1.55rem;font-weight:650;letter-spacing:-.02em;line-height:1.3;
 font-variant-numeric:tabular-nums}
.tiles dd small{font-size:.85rem;font-weight:400;letter-spacing:0;color:var(--muted)}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;margin:1.4rem 0 0;padding:0;
 font-size:.9rem}
.box+details{margin-top:16px}
section{margin:44px 0 0}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
figure,.box{margin:0;background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:16px 18px;
 min-width:0}
.grid+h3,.scroll+h3,.note+h3{margin-top:28px}
figure.full{grid-column:1/-1}
figure svg{display:block;width:100%;height:auto}
figure svg *{stroke-linejoin:round;stroke-linecap:butt}
figure svg text{font-family:var(--font)}
figure svg.narrow{display:none;max-width:480px;margin:0 auto}
figcaption,.note,.scroll caption{color:var(--muted);font-size:.9rem}
figcaption{margin-top:.5rem}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--grid);border-radius:12px;
 margin:0 0 .6rem}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
.scroll caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
th,td{padding:.5rem .8rem;text-align:right;white-space:nowrap;border-top:1px solid var(--grid)}
thead tr:first-child>*{border-top:0}
thead th{font-weight:500;color:var(--muted);border-top:0;padding-bottom:.3rem;vertical-align:bottom}
thead .group{text-align:left;border-bottom:1px solid var(--grid);color:var(--ink)}
th[scope=row]{text-align:left;font-weight:500;position:sticky;left:0;background:var(--card)}
thead th:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
tr.model>*{background:var(--shade)}
.edge{border-left:1px solid var(--grid)}
td strong{font-weight:700}
.none,.aim{color:var(--muted)}
.aim{margin-left:.25em;font-size:.85em}
.dense th,.dense td{padding-left:.6rem;padding-right:.6rem}
tr.gain>*{border-top:2px solid var(--grid);font-size:.88rem}
.key{display:inline-block;width:.8em;height:.8em;border-radius:3px;margin-right:.55em;vertical-align:-.05em}
.facts{margin:0;display:grid;gap:.3rem}
.facts div{display:grid;grid-template-columns:minmax(7em,11em) minmax(0,1fr);gap:1rem}
.facts dt{color:var(--muted)}.facts dd{margin:0}
ul.plain{margin:.8rem 0 0;padding-left:1.2rem}
pre{margin:0 0 .75rem;padding:12px 14px;background:var(--shade);border:1px solid var(--grid);
 border-radius:8px;overflow-x:auto;font:.86rem/1.5 var(--mono)}
pre.wrap,.box>pre{white-space:pre-wrap}
details{background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:0 18px;margin:0 0 12px}
summary{cursor:pointer;padding:12px 0;font-weight:600}
details>*:not(summary){margin-bottom:16px}
footer{color:var(--muted);font-size:.85rem;padding-top:40px;padding-bottom:48px}
:focus-visible{outline:2px solid var(--model);outline-offset:2px}
@media (max-width:760px){
 header,main,footer{padding-left:14px;padding-right:14px}
 header{padding-top:22px}
 .grid{grid-template-columns:minmax(0,1fr)}
 figure,.box{padding:12px}
 figure svg.wide{display:none}
 figure svg.narrow{display:block}
 .tiles{grid-template-columns:repeat(2,minmax(0,1fr))}
 .tiles div{padding:10px 12px}
 .tiles dd{font-size:1.25rem}
 .facts div{grid-template-columns:minmax(0,1fr);gap:0}
 .facts dd{margin-bottom:.35rem}
 th,td{padding:.45rem .6rem}
}
@page{margin:14mm 12mm}
@media print{
 html{font-size:11px}
 body{font-size:11px;background:none}
 header,main,footer{max-width:none;padding:0}
 section{margin-top:24px}
 h1{font-size:22px}h2{font-size:16px}.lead{font-size:13px}
 h2,h3{break-after:avoid}
 h2+*{break-before:avoid}
 figure,.box,details,.tiles div,tr,pre{break-inside:avoid}
 thead{display:table-header-group}
 nav{display:none}
 figure,.box{padding:8px 10px}
 .grid{gap:10px;grid-template-columns:repeat(2,minmax(0,1fr))}
 figure.full{grid-column:1/-1}
 figure svg.wide{display:block}
 figure svg.narrow{display:none}
 .tiles{grid-template-columns:repeat(auto-fit,minmax(100px,1fr));gap:8px}
 .tiles div{padding:8px 10px}.tiles dd{font-size:17px}
 .facts div{grid-template-columns:9em minmax(0,1fr);gap:.8rem}
 .scroll{overflow:visible}
 table,tr.gain>*{font-size:9.5px}
 figcaption,.note{font-size:10px}
 th,td{padding:3px 5px;white-space:normal}
 th[scope=row],thead th:first-child{position:static}
 pre{white-space:pre-wrap;overflow-wrap:anywhere}
 a{color:inherit}
 a[href^=http]::after{content:" (" attr(href) ")"}
 .key,tr.model>*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""

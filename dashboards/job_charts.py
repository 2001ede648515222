"""A batch job drawn: what each shard took, and how the series came out over time."""

from datetime import UTC, datetime

import numpy as np

from forecast.dashboards.charts.chart import Axis, Chart, Line, Mark, Panel, Points
from forecast.dashboards.charts.style import count, duration
from forecast.dashboards.charts.thin import places
from forecast.dashboards.jobs import Job, Shard


def seconds(job: Job) -> Chart | None:
    """Seconds of each shard by its number; those that set series aside stand out."""
    if not job.shards:
        return None
    took = np.array([shard.done.seconds for shard in job.shards], np.float64)
    number = np.array([shard.done.number for shard in job.shards])
    bad = np.array([bool(shard.done.reasons or shard.done.corrupt) for shard in job.shards])
    kept = places(took)
    marks: list[Mark] = []
    for flags, name, role, symbol in ((~bad, "all series forecast", "model", "dot"),
                                      (bad, "some set aside", "seasonal", "diamond")):  # fmt: skip
        mine = kept[flags[kept]]
        if len(mine):
            words = [_told(job.shards[k]) for k in mine]
            marks.append(Points(number[mine], took[mine], name, role, symbol, words=words))  # type: ignore[arg-type]
    slow = job.shards[int(took.argmax())]
    said = (
        f"Seconds that each of {count(len(took))} shards took in its process: the median "
        f"{duration(float(np.median(took)))}, the longest {duration(float(took.max()))} (shard {slow.done.number})."
    )
    said += f" {len(kept):,d} of them are drawn, the extremes among them." if len(kept) < len(took) else ""
    panel = Panel(tuple(marks), Axis("shard", whole=True), Axis("time (s)", zero=True))
    return Chart("seconds", "What a shard takes", said, said, (panel,), half=True)


def _told(shard: Shard) -> str:
    done = shard.done
    aside = f", {count(sum(done.reasons.values()))} set aside" if done.reasons else ""
    lost = f", {len(done.corrupt)} files not read" if done.corrupt else ""
    what = f"{count(done.rows_in)} rows, {count(done.series)} series"
    return f"shard {done.number}: {duration(done.seconds)}, {what}{aside}{lost}"


def progress(job: Job) -> Chart | None:
    """Series that were done, over the time of the last job; None where the manifest has no times."""
    shards = sorted(job.fresh, key=lambda shard: shard.at or datetime.max.replace(tzinfo=UTC))
    began = job.started
    if began is None or len(shards) < 2:
        return None
    at = [began, *(shard.at for shard in shards if shard.at is not None)]
    done = np.concatenate([[0], np.cumsum([shard.done.series for shard in shards])])
    kept = places(done.astype(np.float64))
    times = np.array([each.replace(tzinfo=None) for each in at], dtype="datetime64[ms]")[kept]
    said = f"{count(int(done[-1]))} series in {duration((at[-1] - began).total_seconds())}: the steeper, the faster."
    marks = (Line(times, done[kept], width=1.8, stairs=True),)
    panel = Panel(marks, Axis("time (UTC)", "time"), Axis("series done", zero=True, whole=True))
    return Chart("progress", "Progress", said, said, (panel,), half=True)

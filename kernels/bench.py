"""python -m forecast.kernels.bench [OP …]: check every operator against its reference, then time it beside its rivals.

Needs torch (and Triton, on a GPU) and nothing else. On a GPU it times the kernels, on a CPU the CPU paths, one thread.
Writes benchmarks/kernels-cpu.json or kernels-<card>.json after each op, and beside it, where matplotlib is at hand, a
plot of cost against length. Times are medians of rounds in which all contenders take turns; a ratio is the median of
the rounds' ratios. Memory is the peak of what tensors hold beyond the inputs. A rival that would need more than
RIVAL_BYTES, or longer than SECONDS by how it grows, is left out and so named; where ours needs longer the op ends.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler that counts memory would talk between the rows
import torch
from torch import Tensor

from forecast.kernels.cases import FACTOR, HEADS, OPS, WIDTH, Call, Op
from forecast.ops.selection import budget

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (96, 336, 720, 1440, 4096, 8192, 16_384, 32_768, 65_536, 131_072)
SECONDS = {"cpu": 5.0, "cuda": 0.5}
RIVAL_BYTES = {"cpu": 6 << 30, "cuda": 32 << 30}
WITHIN = {torch.float32: 1e-4, torch.bfloat16: 3e-2}

Row = dict[str, Any]


def check(op: Op, device: str, dtype: torch.dtype) -> None:
    """Ours against itself and every exact rival in float64 on a CPU; forward and backward. In half precision an op
    that chooses queries may choose a few others: there one row in twenty may be off."""
    for length in (96, 1000):
        inputs = op.inputs(1, length, dtype, device)
        double = [x.detach().cpu().double().requires_grad_() if x.is_floating_point() else x.cpu() for x in inputs]
        found = _results(op, op.ours, inputs)
        for rival in (op.ours, *(op.rivals[name] for name in op.exact)):
            for ours, theirs in zip(found, _results(op, rival, double), strict=True):
                scale = theirs.abs().max().clamp(min=1).double()
                rows = (ours.cpu().double() - theirs.double()).abs().flatten(0, -2).amax(-1) / scale
                off = rows.quantile(0.95 if op.chooses and dtype != torch.float32 else 1).item()
                if not off <= WITHIN[dtype]:
                    raise SystemExit(f"off by {off:.2g} at length {length} in {dtype}: not timed")


def _results(op: Op, call: Call, inputs: list[Tensor]) -> list[Tensor]:
    out = call(*inputs)
    if not op.gradient:
        return [out]
    of = [x for x in inputs if x.requires_grad]
    return [out.detach(), *torch.autograd.grad(out.double().square().mean().sqrt(), of)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m forecast.kernels.bench", description=__doc__)
    parser.add_argument("ops", nargs="*", metavar="OP", help=f"any of: {', '.join(OPS)} (default: all)")
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="no longer sequences than this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder of the JSON file and the plot")
    asked = parser.parse_args(argv)
    if odd := [name for name in asked.ops if name not in OPS]:
        parser.error(f"{odd[0]} is none of {', '.join(OPS)}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    target = asked.out / f"kernels-{_slug(device)}.json"
    known = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    for name in asked.ops or OPS:
        rows: list[Row] = []
        for dtype in (torch.float32, torch.bfloat16):
            check(OPS[name], device, dtype)
            print(f"\n{name}, {str(dtype)[6:]}: agrees with its reference", flush=True)
            rows += _sweep(name, dtype, device, asked)
        known[name] = {
            "command": f"python -m forecast.kernels.bench {name!r}",
            "machine": _machine(device),
            "rows": rows,
        }
        target.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")
    _plot(known, target.with_suffix(".png"))


def _sweep(name: str, dtype: torch.dtype, device: str, asked: argparse.Namespace) -> list[Row]:
    op = OPS[name]
    rows: list[Row] = []
    passes = ("forward", "forward+backward") if op.gradient else ("forward",)
    past: dict[tuple[str, str], tuple[int, float]] = {}  # (contender, pass) -> what its last length cost a token
    for length in (n for n in LENGTHS if n <= asked.longest):
        if rows and rows[-1]["ours ms"] > SECONDS[device] * 1e3:
            break
        batch = max(1, (1 << 16) // length) if device == "cuda" else op.batch.get(length, 1)
        inputs = op.inputs(batch, length, dtype, device)
        for way in passes:
            running = {"ours": op.ours} | {
                rival: call
                for rival, call in op.rivals.items()
                if _affordable(rival, way, batch, length, dtype, past, device)
            }
            row: Row = {"length": length, "batch": batch, "dtype": str(dtype)[6:], "pass": way}
            row |= _race(running, inputs, way, device, asked.rounds)
            for contender in running:
                past[contender, way] = (length, row[f"{contender} ms"] / batch)
            rows.append(row)
            print(_line(row, [*op.rivals]), flush=True)
    return rows


def _affordable(
    rival: str,
    way: str,
    batch: int,
    length: int,
    dtype: torch.dtype,
    past: dict[tuple[str, str], tuple[int, float]],
    device: str,
) -> bool:
    """Whether a rival is worth its time at this length, by its growth, and has the memory."""
    if (
        rival == "published"
        and 3 * batch * HEADS * length * budget(length, FACTOR) * WIDTH * dtype.itemsize > RIVAL_BYTES[device]
    ):
        return False
    if (rival, way) not in past:
        return length == LENGTHS[0]  # left out before: left out from then on
    before, cost = past[rival, way]
    growth = 2 if rival == "full attention" else 1.2
    return cost * batch * (length / before) ** growth < SECONDS[device] * 1e3


def _race(running: dict[str, Call], inputs: list[Tensor], way: str, device: str, rounds: int) -> Row:
    runs = {name: _runner(call, inputs, way) for name, call in running.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    row: Row = {}
    for name, run in runs.items():
        row[f"{name} MiB"] = _peak(run, device) / 2**20  # and the warm-up
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(_milliseconds(run, device))
    for name, taken in times.items():
        row[f"{name} ms"] = statistics.median(taken)
        if name != "ours":
            row[f"{name} ÷ ours"] = statistics.median(a / b for a, b in zip(taken, times["ours"], strict=True))
    return row


def _runner(call: Call, inputs: list[Tensor], way: str) -> Callable[[], object]:
    of = [x for x in inputs if x.requires_grad]
    if way == "forward":
        return torch.no_grad()(lambda: call(*inputs))

    def both() -> object:
        out = call(*inputs)
        if not out.requires_grad:  # a copy: reads and writes v; forward and backward move three times as much
            return call(*inputs), call(*inputs)
        return torch.autograd.grad(out, of, torch.ones_like(out), allow_unused=True)

    return both


def _milliseconds(run: Callable[[], object], device: str) -> float:
    """Of one call; calls shorter than 20 ms are repeated and averaged."""
    count, taken = 1, 0.0
    while True:
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
        began = time.perf_counter()
        for _ in range(count):
            run()
        if device == "cuda":
            end.record()
            end.synchronize()
        taken = begin.elapsed_time(end) if device == "cuda" else (time.perf_counter() - began) * 1e3
        if taken > 20 or count >= 64:
            return taken / count
        count *= 4


def _peak(run: Callable[[], object], device: str) -> float:
    """The most bytes that tensors held during a call, beyond what they held before."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    level = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            level += event.nbytes()
            peak = max(peak, level)
    return peak


def _line(row: Row, rivals: list[str]) -> str:
    size = f"L {row['length']:>6} B {row['batch']:>4} {row['pass']:<16}"
    parts = [f"{size} {row['ours ms']:9.2f} ms {row['ours MiB']:8.1f} MiB"]
    for name in rivals:
        if f"{name} ms" not in row:
            parts.append(f"{name}: left out")
            continue
        memory = row[f"{name} MiB"] / max(row["ours MiB"], 1e-3)
        parts.append(f"{name}: {row[f'{name} ÷ ours']:.2f} x the time, {memory:.1f} x the memory")
    return "  |  ".join(parts)


def _slug(device: str) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _machine(device: str) -> Row:
    cpu = next((x.partition(":")[2].strip() for x in _cpuinfo() if x.startswith("model name")), platform.machine())
    try:
        import triton

        version = triton.__version__
    except ImportError:
        version = "none"
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu, "torch": torch.__version__,
        "triton": version, "python": platform.python_version(), "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1), "commit": git.stdout.strip(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }  # fmt: skip


def _plot(known: dict[str, Any], target: Path) -> None:
    """Cost of a token against length, forward and backward, fp32: flat where an operator is linear."""
    try:
        from matplotlib import pyplot, ticker
    except ImportError:
        print("no matplotlib here: no plot; run again with no OP where there is one")
        return
    drawn = {name: found for name, found in known.items() if found["rows"][-1]["pass"] == "forward+backward"}
    if not drawn:
        return
    figure, axes = pyplot.subplots(2, len(drawn), figsize=(3.4 * len(drawn), 6), sharex=True, squeeze=False)
    for column, (name, found) in zip(axes.T, drawn.items(), strict=True):
        rows = [r for r in found["rows"] if r["pass"] == "forward+backward" and r["dtype"] == "float32"]
        contenders = [key[:-3] for key in rows[0] if key.endswith(" ms")]
        for axis, unit, factor in zip(column, ("ms", "MiB"), (1e3, 2**10), strict=True):
            for number, contender in enumerate(contenders):
                points = [(r["length"], r) for r in rows if f"{contender} {unit}" in r]
                costs = [factor * r[f"{contender} {unit}"] / (n * r["batch"]) for n, r in points]
                colour = "black" if contender == "ours" else f"C{number - 1}"
                axis.plot([n for n, _ in points], costs, "o-", ms=3, lw=2 - (number > 0), color=colour, label=contender)
            axis.set(xscale="log", yscale="log")
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(ticker.NullFormatter())
            axis.grid(alpha=0.3)
        column[0].set_title(name, fontsize=11)
        column[0].legend(fontsize=8, frameon=False)
        column[1].set_xlabel("length")
    axes[0, 0].set_ylabel("µs a token")
    axes[1, 0].set_ylabel("KiB a token")
    machine = next(iter(drawn.values()))["machine"]
    figure.suptitle(f"forward and backward, fp32, {machine['device']}", fontsize=11)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    print(f"drawn: {os.path.relpath(target)}")


def _cpuinfo() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text().splitlines() if info.is_file() else []


if __name__ == "__main__":
    main(sys.argv[1:])

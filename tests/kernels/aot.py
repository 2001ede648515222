"""Kernels compiled ahead of time for cards that are not here: in a process without Triton's interpreter, which the
tests of this folder run under. Imports nothing of pytest: it is that process too."""

import importlib
import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

CARDS = (80, 90)  # compute capabilities: A100, H100


class Spec(NamedTuple):
    """One kernel and the types of its arguments; an argument that is named nowhere is a whole number of 32 bits."""

    module: str  # forecast.kernels.scan
    kernel: str
    types: dict[str, str]  # "*fp32" a pointer, "i64", "fp32"
    constexprs: dict[str, Any]
    warps: int = 4


def compile_all(specs: list[Spec], cards: tuple[int, ...] = CARDS) -> list[str]:
    """One line for each that does not compile to a cubin; everything in one process."""
    env = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "FORECAST_KERNELS")}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    request = json.dumps({"specs": specs, "cards": cards})
    done = subprocess.run([sys.executable, __file__], input=request, env=env, capture_output=True, text=True)
    if done.returncode:
        return [f"the compiling process ended with {done.returncode}: {done.stderr[-2000:]}"]
    return json.loads(done.stdout.splitlines()[-1])


def _compile(spec: Spec, card: int) -> str | None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(spec.module), spec.kernel)
    signature = {
        name: "constexpr" if name in spec.constexprs else spec.types.get(name, "i32") for name in kernel.arg_names
    }
    unknown = (spec.types.keys() | spec.constexprs.keys()) - set(kernel.arg_names)
    if unknown:
        return f"{spec.kernel}: no argument {', '.join(sorted(unknown))}"
    source = ASTSource(kernel, signature, spec.constexprs)
    try:
        done = triton.compile(source, target=GPUTarget("cuda", card, 32), options={"num_warps": spec.warps})
    except Exception as fault:  # whatever it is, the test names it
        return f"{spec.kernel} {spec.constexprs} for sm_{card}: {str(fault)[-1500:]}"
    return None if done.asm.get("cubin") else f"{spec.kernel} for sm_{card}: no cubin"


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    faults = [_compile(Spec(*spec), card) for spec in asked["specs"] for card in asked["cards"]]
    print(json.dumps([fault for fault in faults if fault]))

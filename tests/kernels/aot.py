"""Kernels compiled for cards that are not here.

`compile_all` starts one process without TRITON_INTERPRET (in this one kernels are the interpreter's functions) and
compiles every spec for every architecture there.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARCHITECTURES = (80, 90)  # A100, H100


def compile_all(specs: list[tuple[str, str, dict[str, object]]]) -> list[str]:
    """What does not compile, a line each: specs are (module of forecast.kernels, kernel, its arguments).

    An argument's value is its type where that is a string ("*fp32", "i32", …), else a constant; a name of a Triton
    type as a constant is written "tl.float32".
    """
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), env.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(specs), env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _compile(module: str, kernel: str, arguments: dict[str, object], architecture: int) -> str | None:
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants = {}, {}
    for name, value in arguments.items():
        if isinstance(value, str) and not value.startswith("tl."):
            signature[name] = value
            continue
        signature[name] = "constexpr"
        constants[name] = getattr(tl, value[3:]) if isinstance(value, str) else value
    function = getattr(importlib.import_module(f"forecast.kernels.{module}"), kernel)
    try:
        source = ASTSource(fn=function, signature=signature, constexprs=constants)
        binary = triton.compile(source, target=GPUTarget("cuda", architecture, 32)).asm["cubin"]
    except Exception as fault:
        return f"{module}.{kernel} for sm_{architecture}: {type(fault).__name__}: {fault}"
    return None if binary else f"{module}.{kernel} for sm_{architecture}: nothing came out"


if __name__ == "__main__":
    found = [_compile(*spec, architecture) for spec in json.load(sys.stdin) for architecture in ARCHITECTURES]
    print(json.dumps([line for line in found if line]))

"""python -m tests.conformance [NAME …]: sktime's check_estimator on all estimators or on those named; ends with 1
unless every check passes."""

import sys
import time
import warnings

import torch

from forecast.interop import sktime as ours


def checked(name: str) -> bool:
    """Print how many checks an estimator passes, and what is wrong with each that it does not."""
    from sktime.utils.estimator_checks import check_estimator

    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite provokes them; what they say is tested in tests/interop
        found = check_estimator(getattr(ours, name), raise_exceptions=False, verbose=False)
    wrong = {check: result for check, result in found.items() if result != "PASSED"}
    seconds = time.monotonic() - began
    print(f"{name}: {len(found) - len(wrong):,} of {len(found):,} checks passed in {seconds:.0f} s", flush=True)
    for check, result in wrong.items():
        said = " ".join(str(result).split())
        print(f"  {check}: {type(result).__name__}: {said[:300]}", flush=True)
    return bool(found) and not wrong


def main(names: list[str]) -> int:
    torch.set_num_threads(1)  # the tensors are small
    return 0 if all([checked(name) for name in names or ours.__all__]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

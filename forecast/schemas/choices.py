"""Words that a key of a config may have."""

from enum import StrEnum


class Norm(StrEnum):
    none = "none"
    instance = "instance"
    rolling = "rolling"


class Loss(StrEnum):
    mse = "mse"
    mae = "mae"
    huber = "huber"


class Out(StrEnum):
    point = "point"
    quantiles = "quantiles"
    normal = "normal"
    student_t = "student_t"
    negative_binomial = "negative_binomial"
    zero_inflated = "zero_inflated"


class Gaps(StrEnum):
    error = "error"
    fill = "fill"
    mask = "mask"


class Scale(StrEnum):
    standard = "standard"
    mean = "mean"
    none = "none"


class Sample(StrEnum):
    window = "window"
    series = "series"


class Short(StrEnum):
    error = "error"
    mask = "mask"


class Reconcile(StrEnum):
    bottom_up = "bottom_up"
    ols = "ols"
    wls = "wls"
    mint = "mint"


class Twice(StrEnum):
    keep = "keep"
    drop = "drop"


class Balance(StrEnum):
    none = "none"
    sqrt = "sqrt"
    inverse = "inverse"


class Format(StrEnum):
    onnx = "onnx"
    torch = "torch"


class GraphOf(StrEnum):
    step = "step"
    window = "window"


class Policy(StrEnum):
    window = "window"
    start = "start"
    both = "both"


class Sync(StrEnum):
    full = "full"
    normal = "normal"


class Engine(StrEnum):
    auto = "auto"
    onnx = "onnx"
    torch = "torch"


class Layout(StrEnum):
    long = "long"
    wide = "wide"


class Columns(StrEnum):
    forecast = "forecast"
    nixtla = "nixtla"


class OnBad(StrEnum):
    quarantine = "quarantine"
    fallback = "fallback"
    error = "error"


class Progress(StrEnum):
    text = "text"
    json = "json"
    none = "none"


class Workers(StrEnum):
    local = "local"
    ray = "ray"


class Schedule(StrEnum):
    constant = "constant"
    halve = "halve"
    cosine = "cosine"
    plateau = "plateau"


class Part(StrEnum):
    train = "train"
    val = "val"
    test = "test"


# These have dashes in their names, so they cannot be written as class bodies.
Precision = StrEnum("Precision", ["32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed", "16-true"])
Accelerator = StrEnum("Accelerator", ["auto", "cpu", "gpu", "cuda", "mps", "tpu"])

"""Our models as estimators of sktime: forecasters that fit, forecast, update, pipe and search like any of its own."""

from typing import Any, ClassVar, Final

from forecast.interop.sktime_classify import Classifier
from forecast.interop.sktime_forecast import Forecaster

_DOC: Final = """{about}

    Everything is that of `forecast train model={model}`: config, data module, chain, task and trainer. Input may be
    univariate, multivariate, a panel or a hierarchy (one model for all series), with missing values and with exogenous
    X, which is taken as known ahead.

    Parameters
    ----------
    context : int or None, default=None
        Steps that the model sees. None: two seasons or two horizons, 24 at least, 512 at most, and no more than leaves
        half of the training part to windows. Where a series is shorter, what it lacks is masked.
    d_model : int or None, default=None
        Width of the model; None: that of conf/model/{model}.yaml.
    layers : int or None, default=None
        Layers of the encoder; None: those of conf/model/{model}.yaml.
    dropout : float or None, default=None
        None: that of conf/model/{model}.yaml.
    output : str, default="point"
        What a forecast is made of: point, quantiles, normal, student_t, negative_binomial or zero_inflated (counts,
        with overrides=["data.scale=none"]).
    max_epochs : int or None, default=None
        None: as many as make about a thousand steps, 4 to 100. The best weights by validation are kept, and training
        stops early without a better one in a fifth of the epochs (5 at least).
    learning_rate : float, default=1e-3
    batch_size : int, default=32
        Windows in a batch.
    validation : float, default=0.2
        Share of each series, its end, on which weights are chosen and intervals are calibrated. 0, or too short
        series: the training windows serve, and intervals are too narrow.
    sp : int or None, default=None
        Steps in a season; None: that of the index (12 for months, 24 for hours, none for whole numbers).
    update_epochs : int, default=1
        Epochs that ``update`` with ``update_params=True`` goes on training on all data so far, from the weights as
        they are. ``update_params=False`` moves the context on and trains nothing.
    random_state : int, RandomState or None, default=None
    overrides : list of str or None, default=None
        Anything else of `forecast train`, as on its command line, e.g. ``["norm=rolling", "task.min=0"]``.

    Attributes
    ----------
    context_, horizon_ : int
        Steps that the fitted model sees and forecasts.
    best_score_ : float
        Mean squared error, scaled, on the validation windows.
    epochs_ : int
        Epochs trained.

    Notes
    -----
    ``predict_quantiles`` and ``predict_interval`` are calibrated on the validation windows (split conformal). Forecasts
    within the training data are not made. ``save`` writes a run folder (safetensors, JSON, parquet) into a zip.

    Examples
    --------
    >>> from forecast.interop.sktime import {name}
    >>> from sktime.datasets import load_airline
    >>> y = load_airline()
    >>> forecaster = {name}(d_model=16, layers=1, max_epochs=1, random_state=1)
    >>> _ = forecaster.fit(y, fh=[1, 2, 3])
    >>> len(forecaster.predict())
    3
    """


_CLASS_DOC: Final = """{about}

    Everything is that of `forecast train task=classify model={model}`: config, chain, task and trainer. Series may have
    any number of channels, unequal lengths and missing values; the temperature of the probabilities is fitted on the
    validation series.

    Parameters
    ----------
    d_model : int or None, default=None
        Width of the model; None: that of conf/model/{model}.yaml.
    layers : int or None, default=None
        Layers of the encoder; None: those of conf/model/{model}.yaml.
    dropout : float or None, default=None
        None: that of conf/model/{model}.yaml.
    max_epochs : int or None, default=None
        None: that of conf/trainer/classes.yaml. Training stops early without a better validation.
    learning_rate : float or None, default=None
        None: that of conf/optim/classes.yaml.
    batch_size : int or None, default=None
        Series in a batch; None: that of conf/data/labelled.yaml.
    validation : float, default=0.2
        Share of the series, of each class alike, that chooses the epoch and gives the temperature. The model then
        learns again from all series, for as many epochs (``overrides=["task.refit=false"]``: it does not). 0: the
        training series serve.
    random_state : int, RandomState or None, default=None
    overrides : list of str or None, default=None
        Anything else of `forecast train task=classify`, as on its command line, e.g. ``["task.balance=sqrt"]``.

    Attributes
    ----------
    best_score_ : float
        Log loss of the validation series at the best temperature.
    epochs_ : int
        Epochs trained.

    Notes
    -----
    ``save`` writes a run folder (safetensors and JSON) into a zip; the series of the training are not in it.

    Examples
    --------
    >>> from forecast.interop.sktime import {name}
    >>> from sktime.datasets import load_unit_test
    >>> X, y = load_unit_test(split="train")
    >>> classifier = {name}(d_model=16, layers=1, max_epochs=1, random_state=1)
    >>> _ = classifier.fit(X, y)
    >>> classifier.predict_proba(X).shape
    (20, 2)
    """


class InformerForecaster(Forecaster):
    __doc__ = _DOC.format(
        name="InformerForecaster", model="informer",
        about="Informer: ProbSparse attention, and a decoder of the whole horizon at once (Zhou et al. 2021).",
    )  # fmt: skip
    MODEL: ClassVar = "informer"

    def _layers(self) -> Any:
        return None if self.layers is None else [self.layers]

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for tests."""
        return _small(["model.heads=2", "head.heads=2"])


class AarenForecaster(Forecaster):
    __doc__ = _DOC.format(
        name="AarenForecaster", model="aaren",
        about="Aaren: attention with a learned query, a recurrent net in streaming (Feng et al. 2024).",
    )  # fmt: skip
    MODEL: ClassVar = "aaren"

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for tests."""
        return _small(["model.heads=2"])


class TCNCAForecaster(Forecaster):
    __doc__ = _DOC.format(
        name="TCNCAForecaster", model="tcnca",
        about="TCNCA: a temporal convolutional network within chunked attention (Terzic et al. 2023).",
    )  # fmt: skip
    MODEL: ClassVar = "tcnca"

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for tests."""
        return _small(["model.depth=2", "model.d_key=4"])


class LSTMForecaster(Forecaster):
    __doc__ = _DOC.format(
        name="LSTMForecaster", model="lstm", about="LSTM: the recurrent net that others are held against."
    )
    MODEL: ClassVar = "lstm"

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for tests."""
        return _small([])


class InformerClassifier(Classifier):
    __doc__ = _CLASS_DOC.format(
        name="InformerClassifier", model="informer", about="Informer's encoder, causal, and what is pooled from it."
    )
    MODEL: ClassVar = "informer"

    def _layers(self) -> Any:
        return None if self.layers is None else [self.layers]

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for tests."""
        return _few(["model.heads=2"])


class AarenClassifier(Classifier):
    __doc__ = _CLASS_DOC.format(
        name="AarenClassifier", model="aaren",
        about="Aaren: attention with a learned query, a recurrent net in streaming (Feng et al. 2024).",
    )  # fmt: skip
    MODEL: ClassVar = "aaren"

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for tests."""
        return _few(["model.heads=2"])


class TCNCAClassifier(Classifier):
    __doc__ = _CLASS_DOC.format(
        name="TCNCAClassifier", model="tcnca",
        about="TCNCA: a temporal convolutional network within chunked attention (Terzic et al. 2023).",
    )  # fmt: skip
    MODEL: ClassVar = "tcnca"

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for tests."""
        return _few(["model.depth=2", "model.d_key=4"])


class LSTMClassifier(Classifier):
    __doc__ = _CLASS_DOC.format(
        name="LSTMClassifier", model="lstm", about="LSTM: the recurrent net that others are held against."
    )
    MODEL: ClassVar = "lstm"

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for tests."""
        return _few([])


def _small(overrides: list[str]) -> list[dict[str, Any]]:
    """Two settings that fit in a fraction of a second: one with the calibration's intervals, one with its own."""
    size = {"d_model": 8, "layers": 1, "max_epochs": 1, "random_state": 1}
    return [
        {**size, "overrides": [*overrides, "model.dropout=0"]},
        {**size, "context": 6, "output": "normal", "sp": 2, "learning_rate": 0.01, "overrides": overrides},
    ]


def _few(overrides: list[str]) -> list[dict[str, Any]]:
    """Two settings that fit in a fraction of a second: one learns again from all series, one does not."""
    size = {"d_model": 8, "layers": 1, "max_epochs": 1, "random_state": 1}
    return [
        {**size, "overrides": [*overrides, "task.refit=false"]},
        {**size, "dropout": 0.0, "learning_rate": 0.01, "batch_size": 8, "overrides": overrides},
    ]


__all__ = [
    "AarenClassifier",
    "InformerClassifier",
    "LSTMClassifier",
    "TCNCAClassifier",
    "AarenForecaster",
    "InformerForecaster",
    "LSTMForecaster",
    "TCNCAForecaster",
]

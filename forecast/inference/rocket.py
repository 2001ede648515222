"""The rival of every table of classes: random convolution kernels and a linear map (MiniRocket, Dempster et al. 2021,
arXiv 2012.08791, in sktime; ridge regression, its weight by leave-one-out), fitted to all of TRAIN as the model is.

A missing value is the line between its neighbours; kernels take series of 9 steps or more, shorter ones get zeros.
"""

import warnings
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast.data.labelled import Labelled

NAME: Final = "MiniRocket + ridge"
SHORTEST: Final = 9
ALPHAS: Final = np.logspace(-3, 3, 10)


def rocket(train: Labelled, test: Labelled, *, seed: int) -> NDArray[np.int64]:
    """The class (n,) that is guessed for each series of `test`."""
    # numba compiles these the first time, for half a minute: only who asks for it waits
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sktime.transformations.panel.rocket import MiniRocketMultivariate, MiniRocketMultivariateVariable

    lengths = np.concatenate([np.diff(part.offsets) for part in (train, test)])
    equal = lengths.min() == lengths.max() and lengths.min() >= SHORTEST
    kernels: Any = (
        MiniRocketMultivariate(random_state=seed) if equal
        else MiniRocketMultivariateVariable(random_state=seed, pad_value_short_series=0.0)
    )  # fmt: skip
    known = train.label >= 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on the choice between the two
        features = kernels.fit_transform(_panel(train, equal=equal))[known]
        made = make_pipeline(StandardScaler(with_mean=False), RidgeClassifierCV(alphas=ALPHAS))
        made.fit(features, train.label[known])
        found: NDArray[np.int64] = made.predict(kernels.transform(_panel(test, equal=equal)))
    return found


def _panel(part: Labelled, *, equal: bool) -> Any:
    """What sktime takes: an array (n, C, L), or a frame for each series where lengths differ."""
    values = part.values
    if np.isnan(values).any():
        number = np.repeat(np.arange(len(part.ids)), np.diff(part.offsets))
        frame = pd.DataFrame(values).groupby(number)
        values = frame.transform(lambda column: column.interpolate(limit_direction="both")).fillna(0.0).to_numpy()
    if equal:
        return np.ascontiguousarray(values.reshape(len(part.ids), -1, values.shape[1]).transpose(0, 2, 1))
    return [pd.DataFrame(each) for each in np.split(values, part.offsets[1:-1])]

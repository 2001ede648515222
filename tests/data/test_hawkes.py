"""The process whose truth is known: its likelihood against quadrature, its samples against its likelihood."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from forecast.data.event_split import Part
from forecast.data.hawkes import THREE, Hawkes, hawkes, intensities, oracle, score, simulate
from forecast.errors import UsageError

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


@pytest.fixture(scope="module")
def part() -> Part:
    return simulate(THREE, 500, 50.0, seed=0)


def integrals(process: Hawkes, part: Part, number: int) -> NDArray[np.float64]:
    """(n + 1, M) ∫ λ_m from 0 to the first event, between events, and from the last one to the end: by quadrature."""
    low, high = part.events.start[number], part.events.start[number + 1]
    borders = np.concatenate([[0.0], part.events.time[low:high], part.end[number : number + 1]])
    half = np.diff(borders) / 2
    at = borders[:-1, None] + half[:, None] * (NODES + 1)
    value = intensities(process, part, number, at.reshape(-1)).reshape(*at.shape, -1)
    return np.einsum("q,iqm->im", WEIGHTS, value) * half[:, None]


def test_the_likelihood_is_that_of_a_numerical_integral(part: Part) -> None:
    truth, events = oracle(THREE, part), part.events
    for number in range(0, 500, 25):
        rows = slice(events.start[number], events.start[number + 1])
        spent = integrals(THREE, part, number).sum(axis=1)
        rate = intensities(THREE, part, number, events.time[rows])
        np.testing.assert_allclose(truth.compensator[rows], spent[:-1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(truth.last[number], -spent[-1], rtol=1e-9)
        np.testing.assert_allclose(truth.time[rows], np.log(rate.sum(axis=1)) - spent[:-1], rtol=1e-9)
        own = rate[np.arange(len(rate)), events.mark[rows]]
        np.testing.assert_allclose(truth.mark[rows], np.log(own / rate.sum(axis=1)), rtol=1e-9, atol=1e-12)
        # Together they are the likelihood of the whole sequence as it is written everywhere.
        joint = truth.time[rows].sum() + truth.mark[rows].sum() + truth.last[number]
        assert joint == pytest.approx(np.log(own).sum() - spent.sum(), rel=1e-9)


def test_rescaled_times_are_exponential(part: Part) -> None:
    truth, events = oracle(THREE, part), part.events
    # The last intervals are cut off; laid end to end, the sequences are one Poisson process of rate 1.
    carried = np.zeros(len(events.time))
    carried[events.first] = np.concatenate([[0.0], -truth.last[:-1]])
    assert kstest(truth.compensator + carried, "expon").pvalue > 0.01
    # A test that sees something: the same of a process with another decay, and of a Poisson process.
    for other in (THREE._replace(decay=4.0), THREE._replace(excite=np.zeros((3, 3)), base=THREE.rate)):
        wrong = oracle(other, part)
        carried[events.first] = np.concatenate([[0.0], -wrong.last[:-1]])
        assert kstest(wrong.compensator + carried, "expon").pvalue < 1e-6


def test_each_mark_has_its_own_intensity() -> None:
    part = simulate(THREE, 200, 50.0, seed=1)
    for mark in range(3):
        clock, hits = 0.0, []
        for number in range(len(part.events.ids)):
            rows = slice(part.events.start[number], part.events.start[number + 1])
            spent = np.cumsum(integrals(THREE, part, number)[:, mark])
            hits.append(clock + spent[:-1][part.events.mark[rows] == mark])
            clock += spent[-1]
        assert kstest(np.diff(np.concatenate(hits)), "expon").pvalue > 0.01


def test_the_truth_scores_what_is_known(part: Part) -> None:
    many = simulate(THREE, 10_000, 50.0, seed=2)
    truth = score(THREE, many)
    assert truth.events / 20 == pytest.approx(22_275, abs=150)
    assert truth.time == pytest.approx(-0.645, abs=0.012)
    assert truth.mark == pytest.approx(-1.003, abs=0.002)
    assert truth.accuracy == pytest.approx(0.478, abs=0.002)
    assert np.bincount(many.events.mark).max() / len(many.events.mark) == pytest.approx(0.362, abs=0.003)
    few = score(THREE, part)
    assert few.events == pytest.approx(22_500, abs=1200)
    assert few.time == pytest.approx(-0.645, abs=0.06)
    assert few.accuracy == pytest.approx(0.477, abs=0.012)
    # No other process does better on the same events.
    for other in (
        THREE._replace(decay=2.3),
        THREE._replace(excite=THREE.excite * 0.8),
        THREE._replace(base=THREE.base * 1.2),
    ):
        worse = score(other, many)
        assert worse.time + worse.mark < truth.time + truth.mark


def test_a_poisson_process_is_the_process_without_excitement() -> None:
    poisson = hawkes([1.5, 0.5], np.zeros((2, 2)), 1.0)
    part = simulate(poisson, 2000, 20.0, seed=3)
    truth = oracle(poisson, part)
    gaps = part.events.gaps(0.0)[part.target]
    np.testing.assert_allclose(truth.time[part.target], np.log(2) - 2 * gaps, rtol=1e-12)
    np.testing.assert_allclose(truth.mark, np.log(np.where(part.events.mark == 0, 0.75, 0.25)), rtol=1e-12)
    np.testing.assert_allclose(truth.last, -2 * part.last, rtol=1e-12)
    assert part.events.counts.mean() == pytest.approx(40, abs=0.6)
    assert part.events.counts.var() == pytest.approx(40, rel=0.1)


def test_a_seed_is_a_sample_and_what_it_leaves_out_had_no_event() -> None:
    one, same, other = (simulate(THREE, 50, 5.0, seed=seed) for seed in (4, 4, 5))
    assert one.events.ids == same.events.ids
    assert one.events.time.tolist() == same.events.time.tolist()
    assert one.events.mark.tolist() == same.events.mark.tolist()
    assert one.events.time.tolist() != other.events.time.tolist()
    assert 25 < len(one.events.ids) < 50  # exp(-0.35 · 5) = 17 % have none
    assert one.events.counts.min() >= 1
    assert (np.diff(one.events.time)[~one.events.first[1:]] > 0).all()
    assert one.events.time.max() <= 5


@pytest.mark.parametrize(
    ("base", "excite", "decay", "message"),
    [
        ([0.1], [[0.1, 0.2]], 1.0, r"of the shape \(1,\)"),
        ([-0.1], [[0.1]], 1.0, "a rate is negative"),
        ([0.1], [[0.1]], 0.0, "a rate is negative"),
        ([0.1, 0.1], [[0.5, 0.6], [0.6, 0.5]], 1.0, "spectral radius of excite is 1.1; expected less than 1"),
    ],
)
def test_what_is_no_process_is_refused(
    base: list[float], excite: list[list[float]], decay: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        hawkes(base, excite, decay)

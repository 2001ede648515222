"""Horizons of events: origins that know nothing of what comes; outlooks and floors by hand; a process that is known."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.stats import gamma

from forecast.data.event_batch import EventGather
from forecast.data.event_split import Part, whole
from forecast.data.events import Events
from forecast.data.hawkes import THREE, intensities, simulate
from forecast.inference.event_horizon import choose_origins, choose_window, horizon_scores, past, truth
from forecast.inference.event_horizon_floors import Past, Rates, by_rates, copied, horizon_floors, rates, repeated
from forecast.inference.event_outlook import by_paths, medoids, peaks
from forecast.inference.event_paths import Paths
from forecast.metrics.event_horizon import Marked, counted
from tests.inference.test_event_paths import ENCODERS, chain


def part(*sequences: list[tuple[float, int]], end: float | None = None, marks: int = 3) -> Part:
    start = np.cumsum([0, *map(len, sequences)])
    time, mark = (np.array(column) for column in zip(*[event for one in sequences for event in one], strict=True))
    names = tuple(map(str, range(marks)))
    ids = tuple(map(str, range(len(sequences))))
    return whole(Events(ids, start, time.astype(float), mark, names, "day", 0.0), end)


def flat(*rows: tuple) -> Marked:
    horizon, mark, time = (np.array(column) for column in zip(*rows, strict=True))
    return Marked(*(torch.from_numpy(x) for x in (horizon, mark, time.astype(float))))


def listed(events: Marked) -> list[tuple]:
    return sorted(zip(events.horizon.tolist(), events.mark.tolist(), events.time.tolist(), strict=True))


def same(events: Marked, expected: list[tuple]) -> None:
    np.testing.assert_allclose(np.array(listed(events)), np.array(expected), rtol=1e-6)


def test_the_truth_and_the_past_of_an_origin():
    of = part([(0, 0), (1, 1), (2, 2), (3, 0), (5, 1)], [(0, 1), (0.5, 2)], end=10.0)
    chosen = choose_origins(of, 2.0, at=2.5)
    assert chosen.number.tolist() == [0, 1] and chosen.length.tolist() == [3, 2]
    came, total = truth(of, chosen)
    assert listed(came) == [(0, 0, 0.5)] and total.tolist() == [1, 0]
    before = past(of, chosen)
    assert listed(before.events)[:2] == [(0, 0, -2.5), (0, 1, -1.5)]
    assert before.last.tolist() == [2, 2] and before.elapsed.tolist() == [0.5, 2.0]
    assert before.span.tolist() == [2.5, 2.5]
    assert not len(choose_origins(of, 9.0, at=2.5).number)


def test_origins_are_targets_after_a_moment_and_their_windows_are_covered():
    of = simulate(THREE, 200, 30.0, seed=0)
    chosen = choose_origins(of, 5.0, most=50, seed=1)
    assert len(set(chosen.number)) == 50 and (chosen.now + 5 <= 30).all() and (chosen.length >= 2).all()
    rows = of.events.start[chosen.number] + chosen.length - 1
    assert (of.events.time[rows] == chosen.now).all() and of.target[rows].all()
    again = choose_origins(of, 5.0, most=50, seed=1)
    assert (again.now == chosen.now).all() and (choose_origins(of, 5.0, most=50, seed=2).now != chosen.now).any()
    # what comes after an origin does not choose it: without the events after it, it is chosen all the same
    later = of.events.time > chosen.now[0]
    mine = of.events.number == chosen.number[0]
    keep = ~(later & mine)
    counts = np.bincount(of.events.number[keep], minlength=len(of.events.ids))
    cut = of.events._replace(start=np.r_[0, counts.cumsum()], time=of.events.time[keep], mark=of.events.mark[keep])
    other = choose_origins(Part(cut, of.target[keep], of.end), 5.0, most=50, seed=1)
    assert other.now[0] == chosen.now[0]


def test_a_window_is_chosen_where_none_is_given():
    train = part([(i, 0) for i in range(20)])
    assert choose_window(train, part([(i, 0) for i in range(20)], end=40.0)) == 8.0
    assert choose_window(train, part([(0, 0), (1, 0)], end=4.0)) == 3.0
    with pytest.raises(ValueError, match="give a window"):
        choose_window(train, part([(0, 0), (1, 0)]))
    with pytest.raises(ValueError, match="a time above 0"):
        choose_origins(train, 0.0)


def test_floors_by_hand():
    events = flat((0, 0, -3.0), (0, 1, -1.0), (0, 2, 0.0), (1, 1, -0.5))
    before = Past(events, events, torch.tensor([3.0, 0.5]).double(),
                  torch.tensor([2, 3]), torch.tensor([0.0, 0.5]).double())  # fmt: skip
    copy = copied(before, 2.0, 3)
    assert listed(copy.sequence) == [(0, 1, 1.0), (0, 2, 2.0), (1, 1, 1.5)]
    assert copy.counts.tolist() == [[0, 1, 1], [0, 1, 0]] and copy.totals.tolist() == [[2], [1]]
    known = Rates(1.0, 0.8, np.array([0.2, 0.5, 0.3]), np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0], [0.2, 0.5, 0.3]]))
    major = repeated(known, before, 2.0)
    same(major.sequence, [(0, 1, 0.8), (0, 1, 1.6), (1, 1, 0.3), (1, 1, 1.1), (1, 1, 1.9)])
    assert len(major.scored.time) == 15
    all_of_them = horizon_floors(known, before, 3.0)
    markov = all_of_them["Markov rates"]
    assert markov.totals.double().mean(1).tolist() == pytest.approx([3.0, 3.0], abs=0.05)
    assert markov.counts[0].tolist() == [1, 1, 1]  # 2 → 0 → 1 → 2
    own = all_of_them["own rates"]
    assert float(own.some[0]) == pytest.approx(1 - math.exp(-(3 + 1) / (3 + 1) * 3))
    assert not {"Markov rates"} & set(horizon_floors(known._replace(after=None), before, 3.0))
    assert not len(repeated(known._replace(median=0.0), before, 3.0).sequence.time)


def test_rates_are_counted_in_train():
    found = rates(part([(0, 0), (1, 1), (3, 0), (4, 1)]), 2)
    assert (found.mean, found.median) == (pytest.approx(4 / 3), 1.0)
    assert found.share.tolist() == [2 / 5, 3 / 5]
    assert found.after[0].tolist() == pytest.approx([0.4 / 3, (2 + 0.6) / 3]) and found.after[2].tolist() == [0.4, 0.6]


def test_events_by_rates_are_at_their_medians():
    ours = by_rates(torch.tensor([[1.0, 0.1]]).double(), 4.0, torch.tensor([1.1]).double())
    assert ours.counts.tolist() == [[4.0, 0.0]]
    law = gamma(np.arange(1, 5))
    same(ours.sequence, [(0, 0, law.ppf(law.cdf(4.0) / 2)[i]) for i in range(4)])
    first = ours.scored.where(ours.scored.mark == 1)
    assert float(first.score[0]) == pytest.approx(1 - math.exp(-0.4))
    assert float(first.time[0]) == pytest.approx(-math.log1p(-(1 - math.exp(-0.4)) / 2) / 0.1)
    assert float(ours.some) == pytest.approx(1 - math.exp(-4.4))


def test_outlooks_of_paths_by_hand():
    """Three paths of one origin: all have an event of mark 0 about 1.2, one has another, one has one of mark 1."""
    paths = flat((0, 0, 1.0), (0, 0, 2.0), (1, 0, 1.2), (2, 0, 1.4), (2, 1, 3.0))
    found = peaks(paths, 3, 0.25, 4.0)
    same(found, [(0, 0, 1.2), (0, 0, 2.0), (0, 1, 3.0)])
    assert sorted(found.score.tolist()) == pytest.approx([1 / 3, 1 / 3, 1.0])
    same(found.where(found.score > 0.5), [(0, 0, 1.2)])
    assert medoids(paths, 1, 3, 10.0).tolist() == [1]  # from 0 it is 10.2, from 2 10.2; these are 20.4 apart
    gaps = torch.tensor([[[1.0, 1.0], [1.2, 0.0], [1.4, 1.6]]])
    marks, mask = torch.tensor([[[0, 0], [0, 0], [0, 1]]]), torch.tensor([[[1, 1], [1, 0], [1, 1]]]).bool()
    made = Paths(gaps, marks, mask, torch.zeros(1).double(), torch.zeros(1, 3).bool(), torch.ones(1).double())
    ours = by_paths([(np.array([0]), made)], 1, 2, cost=10.0, near=0.25, window=4.0)
    same(ours.sequence, [(0, 0, 1.2)])
    assert ours.counts.tolist() == [[1.0, 0.0]] and ours.totals.tolist() == [[2, 1, 2]]


def test_scores_of_a_part_are_seeded_and_beside_floors():
    of, train = simulate(THREE, 40, 20.0, seed=0), simulate(THREE, 40, 20.0, seed=1)
    model = chain(ENCODERS["aaren"]())
    words = {"train": train, "window": 4.0, "paths": 4, "origins": 12}
    one, two = (horizon_scores(model, of, name="aaren", most=64, **words) for _ in range(2))
    assert one == two and one["origins"] == 12 and one["paths"] == 4 and one["window"] == 4.0
    assert [row["kind"] for row in one["rows"]] == ["model"] * 2 + ["floor"] * 5
    for row in one["rows"]:
        assert all(row[key] is None or math.isfinite(row[key]) for key in row if key not in ("name", "kind"))
        assert 0 <= row["tmap"] <= 1 and 0 <= row["otd_share"] < 1 + 1e-9 and 0 <= row["brier"] <= 1
    asked = horizon_scores(model, of, at=10.0, **words)
    assert asked["origins"] == 12
    assert horizon_scores(model, of, **{**words, "window": 40.0}) is None


def test_labels_are_counted_each_and_their_events_once():
    of = part([(0, 0), (1, 1), (2, 2), (3, 0), (5, 1)], [(0, 1), (0.5, 2)], end=10.0)
    sets = torch.tensor([[True, False], [True, True], [False, False]])  # what the codes 0, 1 and 2 stand for
    chosen = choose_origins(of, 2.0, at=0.75)
    came, total = truth(of, chosen, sets)
    assert listed(came) == [(0, 0, 0.25), (0, 1, 0.25)] and total.tolist() == [2, 0]
    assert rates(of, 2, sets.numpy()).share.tolist() == pytest.approx([4 / 7, 3 / 7])
    assert copied(past(of, chosen, sets), 2.0, 2).totals.tolist() == [[1], [2]]
    model = chain(ENCODERS["aaren"](), marks=2, labels=True)
    words = {"train": of, "window": 2.0, "paths": 3, "at": 0.75}
    scores = horizon_scores(model, of, gather=EventGather(of, floor=1e-4, labels=sets), **words)
    assert scores["events"] == 2 and len(scores["rows"]) == 6
    for wrong in ({}, {"labels": sets, "longest": 2}):
        with pytest.raises(ValueError, match="whole sequences"):
            horizon_scores(model, of, gather=EventGather(of, floor=1e-4, **wrong), **words)


def exact(of: Part, chosen) -> np.ndarray:
    """(B, M) expected counts: excitation E obeys E' = β (A (μ + E) - E), counts N' = μ + E: a matrix exponential."""
    m = len(THREE.base)
    law = np.zeros((2 * m + 1, 2 * m + 1))
    law[:m, :m] = THREE.decay * (THREE.excite - np.eye(m))
    law[:m, -1] = THREE.decay * THREE.excite @ THREE.base
    law[m : 2 * m, :m], law[m : 2 * m, -1] = np.eye(m), THREE.base
    after, found = expm(law * chosen.window), []
    for number, length, now in zip(chosen.number, chosen.length, chosen.now, strict=True):
        last = of.events.mark[of.events.start[number] + length - 1]
        excited = intensities(THREE, of, int(number), np.array([now]))[0] - THREE.base
        excited = excited + THREE.decay * THREE.excite[:, last]
        found.append((after @ np.r_[excited, np.zeros(m), 1.0])[m : 2 * m])
    return np.array(found)


def test_what_comes_after_origins_is_what_the_process_expects():
    """Origins are fair: where one of all events of a sequence is drawn, those with few to come are drawn more often."""
    of = simulate(THREE, 4000, 30.0, seed=3)
    chosen = choose_origins(of, 6.0, most=4000)
    came, _ = truth(of, chosen)
    count = counted(came, len(chosen.number), 3).double().numpy()
    error = count.sum(1).std() / math.sqrt(len(count))
    assert abs(count.sum(1).mean() - exact(of, chosen).sum(1).mean()) < 3 * error

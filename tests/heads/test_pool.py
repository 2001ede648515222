"""Pooling against its equations; laws within a chain: test_label_chain.py."""

import pytest
import torch

from forecast.heads import FlatLabel, Pool

K, D = 4, 3


def memory() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(3, 6, D, generator=g, dtype=torch.float64), torch.arange(6) < torch.tensor([6, 1, 4])[:, None]


def pool(kind: str, **words) -> Pool:
    torch.manual_seed(0)
    return Pool(d_memory=D, classes=K, pool=kind, **words).double()


WANT = {
    "mean": lambda m, head: m.mean(0),
    "last": lambda m, head: m[-1],
    "max": lambda m, head: m.amax(0),
    "attention": lambda m, head: (m @ head.pools[-1].score.weight[0]).softmax(0) @ m,
}


@pytest.mark.parametrize("kind", WANT)
def test_each_pools_the_real_tokens(kind):
    head, (x, seen) = pool(kind), memory()
    for row in range(3):
        want = head.out(WANT[kind](x[row, seen[row]], head))
        torch.testing.assert_close(head(x, seen)[row], want)
    torch.testing.assert_close(head(x), head(x, torch.ones_like(seen)))


def test_several_stand_side_by_side():
    head, (x, seen) = pool("max+mean"), memory()
    parts = [WANT[kind](x[2, seen[2]], head) for kind in ("max", "mean")]
    torch.testing.assert_close(head(x, seen)[2], head.out(torch.cat(parts)))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_attention_over_a_long_stream_stays_exact(scale):
    """Scores that differ by thousands, in single precision, one token after another."""
    head, x = pool("attention").float(), scale * torch.randn(2, 300, D, generator=torch.Generator().manual_seed(0))
    state = head.start(2)
    with torch.no_grad():
        for t in range(300):
            state, logits = head.scan(state, x[:, t : t + 1])
        torch.testing.assert_close(logits[:, 0], head(x), rtol=1e-4, atol=1e-4 * scale)


def test_a_flat_head_is_one_linear_map_of_the_first_tokens():
    torch.manual_seed(0)
    head, (x, seen) = FlatLabel(d_memory=D, length=5, classes=K).double(), memory()
    full = torch.cat([x * seen[..., None]], 1)
    want = full[1:, :5].flatten(1) @ head.out.weight.T + head.out.bias
    torch.testing.assert_close(head(x[1:], seen[1:]), want)
    torch.testing.assert_close(head(x), head(x[:, :5]))  # what comes after train's longest is not looked at
    torch.testing.assert_close(head.scan(head.start(3), x)[1][:, -1], head(x))
    torch.testing.assert_close(head(x[:, :2]), head.scan(head.start(3), x[:, :2])[1][:, -1])


@pytest.mark.parametrize(("words", "told"), [
    ({"pool": "mean+median"}, "'median'; expected mean, last, max, attention"), ({"classes": 1}, "expected at least 2"),
])  # fmt: skip
def test_what_cannot_be_is_refused(words, told):
    with pytest.raises(ValueError, match=told):
        Pool(**{"d_memory": D, "classes": K, **words})


@pytest.mark.parametrize("words", [{"length": 0}, {"classes": 1}])
def test_a_flat_head_of_nothing_is_refused(words):
    with pytest.raises(ValueError, match="expected at least"):
        FlatLabel(**{"d_memory": D, "length": 3, "classes": K, **words})

"""The embedding of labelled series against its equations; its laws within a chain: tests/heads/test_label_chain.py."""

import pytest
import torch

from forecast.models import FlatSeries, SeriesEmbedding
from forecast.models.token_conv import TokenConv, TokenNorm


def made(**words) -> SeriesEmbedding:
    torch.manual_seed(0)
    plain = {"d_model": 4, "kernel": 5, "stride": 3, "layers": 0, "norm": "none", "activation": "none"}
    return SeriesEmbedding(channels=2, **{**plain, **words}).double().eval()


def test_a_token_is_a_map_of_the_steps_up_to_its_last():
    embed, x = made(), torch.randn(1, 7, 2, dtype=torch.float64)
    weight, bias = embed.conv.weight, embed.conv.bias
    tokens = embed(x)
    assert tokens.shape == (1, 3, 4)
    for j in range(3):
        want = bias.clone()
        for i in range(5):
            step = (j + 1) * 3 - 5 + i
            if 0 <= step < 7:
                want = want + weight[:, :, i] @ x[0, step]
        torch.testing.assert_close(tokens[0, j], want)


def test_as_wide_as_its_stride_it_is_patching():
    embed, x = made(kernel=4, stride=4), torch.randn(2, 12, 2, dtype=torch.float64)
    patches = x.view(2, 3, 4, 2)
    want = torch.einsum("bjkc,dck->bjd", patches, embed.conv.weight) + embed.conv.bias
    torch.testing.assert_close(embed(x), want)


def test_what_was_observed_is_an_input_where_values_may_be_missing():
    embed = made(missing=True)
    x, mask = torch.randn(1, 6, 2, dtype=torch.float64), torch.rand(1, 6, 2) > 0.4
    assert embed.inputs(x, mask, None).equal(torch.cat([x * mask, mask.double()], -1))
    assert embed(x).equal(embed(x, torch.ones_like(mask)))
    assert not embed(x, mask).equal(embed(x * mask))
    flat = FlatSeries(channels=2, missing=True)
    assert flat.d_model == 4
    assert flat(x, mask).equal(embed.inputs(x, mask, None))
    assert FlatSeries(channels=2)(x, mask).equal(x * mask)


@pytest.mark.parametrize(("longest", "tokens", "stride", "kernel"), [(20, 64, 1, 3), (64, 64, 1, 3), (152, 64, 3, 6)])
def test_the_stride_follows_from_the_longest_series(longest, tokens, stride, kernel):
    embed = SeriesEmbedding(channels=1, longest=longest, tokens=tokens)
    assert (embed.stride, embed.kernel) == (stride, kernel)
    assert embed.length(longest) <= tokens


def test_a_residual_layer_is_its_equation():
    torch.manual_seed(0)
    layer = TokenConv(3, kernel=3, dilation=2, norm="none", activation="relu", dropout=0.0).double()
    x = torch.randn(1, 9, 3, dtype=torch.float64)
    y = layer(x, None)
    for j in range(9):
        taps = [layer.conv.weight[:, :, i] @ x[0, j - (2 - i) * 2] for i in range(3) if j - (2 - i) * 2 >= 0]
        torch.testing.assert_close(y[0, j], x[0, j] + (sum(taps) + layer.conv.bias).relu())


def test_batch_statistics_are_those_of_the_real_tokens():
    torch.manual_seed(0)
    x, mask = torch.randn(4, 6, 3) * 2 + 1, torch.arange(6) < torch.tensor([6, 2, 5, 1])[:, None]
    ours, theirs = TokenNorm(3, "batch"), torch.nn.BatchNorm1d(3)
    with torch.no_grad():
        for norm in (ours.norm, theirs):
            norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
            norm.bias.fill_(0.3)
    torch.testing.assert_close(ours(x, mask)[mask], theirs(x[mask]))
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    whole, again = ours(x, None), theirs(x.flatten(0, 1)).view(x.shape)
    torch.testing.assert_close(whole, again)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    ours.eval()
    torch.testing.assert_close(ours(x, mask), theirs.eval()(x.flatten(0, 1)).view(x.shape))


def test_one_token_alone_can_be_trained_on():
    norm = TokenNorm(3, "batch")
    y = norm(torch.randn(1, 1, 3), None)
    assert y.equal(torch.zeros(1, 1, 3))
    assert all(b.isfinite().all() for b in norm.buffers())


@pytest.mark.parametrize(("words", "told"), [
    ({"kernel": 2, "stride": 3}, "1 <= stride <= kernel"), ({"layers": -1}, "layers at least 0"),
    ({"norm": "group"}, "none, layer or batch"), ({"activation": "tanh"}, "expected one of none, gelu"),
    ({"stride": None}, "or a stride"),
])  # fmt: skip
def test_what_cannot_be_is_refused(words, told):
    with pytest.raises(ValueError, match=told):
        made(**words)


def test_series_without_channels_are_refused():
    with pytest.raises(ValueError, match="0 channels"):
        FlatSeries(channels=0)

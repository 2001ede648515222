"""Informer as its published code computes it (forecasting.md of the design gives the formulas), written from those
formulas in plain functions over a state dict with the published names; float64, evaluation only, every query kept or
the sample handed in. Slow and literal on purpose: the thing our modules are compared with."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
Sampler = Callable[[int, int, int, str], Tensor]  # (L_Q, L_K, count, layer name) -> sampled keys


def random_state(*, c: int, f: int, d: int, ff: int, depths: list[int], decoder: int, out: int, stack: bool) -> State:
    """Random weights under the published names."""
    g = torch.Generator().manual_seed(0)
    s: State = {}

    def put(name: str, *shape: int) -> None:
        s[name] = torch.randn(*shape, generator=g, dtype=torch.float64) * 0.3

    def attention(name: str) -> None:
        for part in ("query", "key", "value", "out"):
            put(f"{name}.{part}_projection.weight", d, d)
            put(f"{name}.{part}_projection.bias", d)

    def norm(name: str) -> None:
        put(f"{name}.weight", d)
        put(f"{name}.bias", d)

    def feed(name: str, norms: int) -> None:
        put(f"{name}.conv1.weight", ff, d, 1)
        put(f"{name}.conv1.bias", ff)
        put(f"{name}.conv2.weight", d, ff, 1)
        put(f"{name}.conv2.bias", d)
        for i in range(1, norms + 1):
            norm(f"{name}.norm{i}")

    for side in ("enc", "dec"):
        put(f"{side}_embedding.value_embedding.tokenConv.weight", d, c, 3)
        put(f"{side}_embedding.value_embedding.tokenConv.bias", d)
        put(f"{side}_embedding.temporal_embedding.embed.weight", d, f)
        put(f"{side}_embedding.temporal_embedding.embed.bias", d)
        put(f"{side}_embedding.position_embedding.pe", 1, 10, d)
    for i, depth in enumerate(depths):
        root = f"encoder.encoders.{i}" if stack else "encoder"
        for j in range(depth):
            attention(f"{root}.attn_layers.{j}.attention")
            feed(f"{root}.attn_layers.{j}", 2)
        for j in range(depth - 1):
            put(f"{root}.conv_layers.{j}.downConv.weight", d, d, 3)
            put(f"{root}.conv_layers.{j}.downConv.bias", d)
            norm(f"{root}.conv_layers.{j}.norm")
            put(f"{root}.conv_layers.{j}.norm.running_mean", d)
            s[f"{root}.conv_layers.{j}.norm.running_var"] = torch.rand(d, generator=g, dtype=torch.float64) + 0.5
            s[f"{root}.conv_layers.{j}.norm.num_batches_tracked"] = torch.tensor(7)
        norm(f"{root}.norm")
    for j in range(decoder):
        attention(f"decoder.layers.{j}.self_attention")
        attention(f"decoder.layers.{j}.cross_attention")
        feed(f"decoder.layers.{j}", 3)
    norm("decoder.norm")
    put("projection.weight", out, d)
    put("projection.bias", out)
    return s


def forward(
    s: State, x: Tensor, x_mark: Tensor, y: Tensor, y_mark: Tensor, *, heads: int, depths: list[int], decoder: int,
    factor: int, horizon: int, attention: str, sampler: Sampler, stack: bool,
) -> Tensor:  # fmt: skip
    """x (B, L, C), marks scaled as timeF (B, L, F), y (B, label + H, C) with zeros ahead -> (B, H, out)."""
    parts = []
    tokens = _embed(s, "enc", x, x_mark)
    for i, depth in enumerate(depths):
        root = f"encoder.encoders.{i}" if stack else "encoder"
        h = tokens[:, -(tokens.shape[1] // 2**i) :]
        for j in range(depth):
            h = _encoder_layer(s, f"{root}.attn_layers.{j}", h, heads, factor, attention, sampler)
            if j < depth - 1:
                h = _distil(s, f"{root}.conv_layers.{j}", h)
        parts.append(_norm(s, f"{root}.norm", h))
    memory = torch.cat(parts, 1)
    h = _embed(s, "dec", y, y_mark)
    for j in range(decoder):
        name = f"decoder.layers.{j}"
        own = _attend(s, f"{name}.self_attention", h, h, heads, factor, attention, sampler, causal=True, mix=True)
        h = _norm(s, f"{name}.norm1", h + own)
        inner = f"{name}.cross_attention"
        cross = _attend(s, inner, h, memory, heads, factor, "full", sampler, causal=False, mix=False)
        h = _norm(s, f"{name}.norm2", h + cross)
        h = _norm(s, f"{name}.norm3", h + _feed(s, name, h))
    h = _norm(s, "decoder.norm", h)
    return (h @ s["projection.weight"].T + s["projection.bias"])[:, -horizon:]


def _embed(s: State, side: str, x: Tensor, mark: Tensor) -> Tensor:
    weight = s[f"{side}_embedding.value_embedding.tokenConv.weight"]
    wrapped = torch.cat([x[:, -1:], x, x[:, :1]], 1)  # circular padding of 1
    value = sum(wrapped[:, i : i + x.shape[1]] @ weight[:, :, i].T for i in range(3))
    value = value + s[f"{side}_embedding.value_embedding.tokenConv.bias"]
    length, d = x.shape[1], weight.shape[0]
    position = torch.zeros(length, d, dtype=torch.float64)
    for t in range(length):
        for i in range(0, d, 2):
            angle = t * math.exp(-i * math.log(10000.0) / d)
            position[t, i] = math.sin(angle)
            if i + 1 < d:
                position[t, i + 1] = math.cos(angle)
    temporal = mark @ s[f"{side}_embedding.temporal_embedding.embed.weight"].T
    return value + position + temporal + s[f"{side}_embedding.temporal_embedding.embed.bias"]


def _linear(s: State, name: str, x: Tensor) -> Tensor:
    weight = s[f"{name}.weight"]
    return x @ (weight.squeeze(-1) if weight.dim() == 3 else weight).T + s[f"{name}.bias"]


def _norm(s: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"])


def _feed(s: State, name: str, x: Tensor) -> Tensor:
    return _linear(s, f"{name}.conv2", F.gelu(_linear(s, f"{name}.conv1", x)))


def _encoder_layer(s: State, name: str, x: Tensor, heads: int, factor: int, kind: str, sampler: Sampler) -> Tensor:
    new = _attend(s, f"{name}.attention", x, x, heads, factor, kind, sampler, causal=False, mix=False)
    x = _norm(s, f"{name}.norm1", x + new)
    return _norm(s, f"{name}.norm2", x + _feed(s, name, x))


def _distil(s: State, name: str, x: Tensor) -> Tensor:
    x = F.pad(x.transpose(1, 2), (1, 1), mode="circular")
    x = F.conv1d(x, s[f"{name}.downConv.weight"], s[f"{name}.downConv.bias"])
    mean, var = s[f"{name}.norm.running_mean"], s[f"{name}.norm.running_var"]
    x = (x - mean[:, None]) / torch.sqrt(var[:, None] + 1e-5)
    x = F.elu(x * s[f"{name}.norm.weight"][:, None] + s[f"{name}.norm.bias"][:, None])
    return F.max_pool1d(x, 3, 2, 1).transpose(1, 2)


def _attend(
    s: State, name: str, x: Tensor, source: Tensor, heads: int, factor: int, kind: str, sampler: Sampler, *,
    causal: bool, mix: bool,
) -> Tensor:  # fmt: skip
    b, l_q, d = x.shape
    l_k, e = source.shape[1], d // heads
    q = _linear(s, f"{name}.query_projection", x).view(b, l_q, heads, e).transpose(1, 2)
    k = _linear(s, f"{name}.key_projection", source).view(b, l_k, heads, e).transpose(1, 2)
    v = _linear(s, f"{name}.value_projection", source).view(b, l_k, heads, e).transpose(1, 2)
    scores = q @ k.transpose(-1, -2)
    visible = scores / math.sqrt(e)
    if causal:
        visible = visible.masked_fill(torch.ones(l_q, l_k, dtype=torch.bool).triu(1), -torch.inf)
    full = visible.softmax(-1) @ v
    if kind == "prob":
        count = min(factor * math.ceil(math.log(l_k)), l_k)
        u = min(factor * math.ceil(math.log(l_q)), l_q)
        sample = sampler(l_q, l_k, count, name)
        picked = torch.gather(scores, 3, sample.expand(b, heads, -1, -1))
        measure = picked.max(-1).values - picked.sum(-1) / l_k
        top = measure.topk(u, sorted=False).indices
        lazy = v.cumsum(2) if causal else v.mean(2, keepdim=True).expand(-1, -1, l_q, -1)
        out = lazy.clone()
        for bi in range(b):
            for hi in range(heads):
                out[bi, hi, top[bi, hi]] = full[bi, hi, top[bi, hi]]
    else:
        out = full
    if not mix:
        out = out.transpose(1, 2)
    return _linear(s, f"{name}.out_projection", out.contiguous().view(b, l_q, d))

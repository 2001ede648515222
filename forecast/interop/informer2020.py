"""Weights under the names of the paper's published code (github.com/zhouhaoyi/Informer2020) -> weights of a chain.

The chain must be the same model: embed=value, model=informer, head=generative with `head.mix=true`, `head.lazy=sum`,
`head.placeholder=zeros`, `head.residual=none` and the same sizes. With them both give equal outputs where every query
is kept; where some are not, the published code draws new key samples at each call.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES = [
    (r"^enc_embedding\.value_embedding\.tokenConv\.", "embed.value."),
    (r"^enc_embedding\.temporal_embedding\.embed\.", "embed.calendar.embed."),
    (r"^dec_embedding\.value_embedding\.tokenConv\.", "head.embed.value."),
    (r"^dec_embedding\.temporal_embedding\.embed\.", "head.embed.calendar.embed."),
    (r"^encoder\.encoders\.(\d+)\.", r"encoder.stacks.\1."),
    (r"^encoder\.(?!stacks)", "encoder.stacks.0."),
    (r"\.attn_layers\.(\d+)\.(conv[12])\.", r".layers.\1.feed.\2."),
    (r"\.attn_layers\.", ".layers."),
    (r"\.conv_layers\.(\d+)\.downConv\.", r".distil.\1.down."),
    (r"\.conv_layers\.", ".distil."),
    (r"^decoder\.layers\.(\d+)\.(conv[12])\.", r"head.layers.\1.feed.\2."),
    (r"^decoder\.", "head."),
    (r"^projection\.", "head.projection."),
]


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names -> ours. Calendar columns stand the other way round there, 1×1 convolutions are linear maps here.

    Raises ValueError for learned calendar tables: the published ones have four minutes and other sizes.
    """
    converted = {}
    for key, value in state.items():
        if key.endswith(".pe"):  # the position table is computed
            continue
        if "temporal_embedding" in key and ".temporal_embedding.embed." not in key:
            raise ValueError(f"{key}: only the timeF calendar can be converted")
        name = key
        for pattern, replacement in _RULES:
            name = re.sub(pattern, replacement, name)
        if name.endswith("calendar.embed.weight"):
            value = value.flip(1)
        if re.search(r"\.feed\.conv[12]\.weight$", name):
            value = value.squeeze(-1)
        converted[name] = value
    return converted

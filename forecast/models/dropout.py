"""torch's Dropout module with the cheaper mask of forecast.ops.dropout."""

from torch import Tensor, nn

from forecast.ops.dropout import dropout


class Dropout(nn.Dropout):
    """x of any shape -> the same shape; does nothing in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training and self.p else x

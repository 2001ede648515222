"""The panel `shop` from the invoices of an online shop: orders per week of its regular customers.

    python scripts/shop.py retail.parquet datasets/shop/shop.parquet

`retail.parquet` holds one row per invoice (id, time, mark, value, lines) of UCI's Online Retail II, cancelled ones
marked `cancel`. A series begins in the week of the customer's first order and ends with the last whole week.
Who is regular is decided by what came before the test part alone: choosing by all orders would choose by the answer.
"""

import sys
from datetime import date, datetime

import polars as pl

TEST = datetime(2011, 7, 18)  # first week of the test part of the card
LAST = date(2011, 11, 28)  # the last whole week; the data end on a Friday
ORDERS, WEEKS = 6, 5  # regular: at least 6 orders, and one in 5 weeks on average


def panel(invoices: pl.DataFrame) -> pl.DataFrame:
    """Invoices -> customer, week (its Monday), orders; a row for each week, with 0 where nothing was ordered."""
    orders = invoices.filter(pl.col("mark") != "cancel").with_columns(
        customer=pl.format("c{}", "id"), week=pl.col("time").dt.truncate("1w").dt.date()
    )
    known = orders.filter(pl.col("time") < TEST).group_by("customer").agg(count=pl.len(), first=pl.col("week").min())
    weeks = (pl.lit(TEST.date()) - pl.col("first")).dt.total_days() / 7
    regular = known.filter((pl.col("count") >= ORDERS) & (pl.col("count") * WEEKS >= weeks)).sort("customer")
    grid = regular.select("customer", week=pl.date_ranges("first", LAST, "1w")).explode("week")
    counts = orders.group_by("customer", "week").agg(orders=pl.len().cast(pl.Int16))
    return grid.join(counts, on=["customer", "week"], how="left").with_columns(pl.col("orders").fill_null(0)).sort(
        "customer", "week"
    )  # fmt: skip


if __name__ == "__main__":
    panel(pl.read_parquet(sys.argv[1])).write_parquet(sys.argv[2], compression="zstd", statistics=False)

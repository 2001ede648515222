"""A finished run put into a store of MLflow and registered there, as its training would have done, in this process."""

from pathlib import Path

from forecast.delivery import Delivery
from forecast.spool import Journal
from forecast.store import Store


def register(run: Path, base: Path, name: str, alias: str | None = "champion") -> str:
    """Register the run folder as `name` in the database `base`, made where there is none; its id there."""
    uri = f"sqlite:///{base}"
    journal = Journal(run)
    place = (base.parent / "mlartifacts").as_uri()
    journal.append(
        "create", uri=uri, asked=uri, experiment="tests", place=place, name=name, tags={"forecast.run": run.name},
        params={},
    )  # fmt: skip
    journal.append("end", status="FINISHED")
    journal.append("register", name=name, alias=alias)
    journal.close()
    delivery = Delivery(Store(uri, 60).open(), run)
    for _ in delivery.advance():
        pass
    assert not delivery.refused
    return delivery.sent.run_id

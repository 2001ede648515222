"""The package as users get it: a wheel that runs from another directory, imports that stay light, floors that hold."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel's content, as pip would lay it out."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(REPO), str(source)], check=True)
    changed = subprocess.run(
        ["git", "ls-files", "-mo", "--exclude-standard"], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in changed:  # uncommitted work is part of what is tested
        if (REPO / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPO / name).read_bytes())
        else:
            (source / name).unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(place), str(source)],
        check=True, timeout=300,
    )  # fmt: skip
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def test_the_wheel_trains_from_another_directory(installed, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    code = "import forecast; print(forecast.__file__)"
    where = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert where.stdout.startswith(str(installed))  # not the checkout
    done = subprocess.run(
        [sys.executable, "-m", "forecast", "train", "experiment=smoke", "model=linear"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/train/*/report.html"))) == 1


def test_the_wheel_names_its_script_and_licence(installed):
    (info,) = installed.glob("longcast-*.dist-info")
    assert "forecast = forecast.__main__:main" in (info / "entry_points.txt").read_text()
    assert "License-Expression: Apache-2.0" in (info / "METADATA").read_text()
    assert {p.name for p in installed.iterdir()} == {"forecast", info.name}
    assert {"page.css", "page.js", "theme.js"} <= {p.name for p in installed.glob("forecast/dashboards/app/assets/*")}


def test_imports_go_down_only():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=REPO, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("module", "absent"), [
    ("forecast.models", ("hydra", "omegaconf", "mlflow", "pytorch_lightning", "polars", "pandas")),
    ("forecast.heads", ("hydra", "omegaconf", "mlflow", "pytorch_lightning", "polars", "pandas")),
    ("forecast.metrics", ("hydra", "mlflow", "pytorch_lightning", "polars", "pandas")),
    ("forecast.kernels.bench", ("hydra", "omegaconf", "mlflow", "pytorch_lightning", "polars", "pandas", "matplotlib")),
    ("forecast.data.read", ("torch", "pandas", "hydra", "mlflow")),
    ("forecast.data.fetch", ("torch", "pandas", "hydra", "mlflow")),
    ("forecast.dashboards.report", ("torch", "mlflow", "pytorch_lightning", "dash", "plotly")),
    ("forecast.dashboards.app.server", ("torch", "mlflow", "pytorch_lightning", "hydra")),
    ("forecast.verbs.ui", ("torch", "polars", "hydra", "mlflow", "dash", "matplotlib")),
    ("forecast.inference.predictor", ("pytorch_lightning", "mlflow", "hydra", "sktime")),
    ("forecast.__main__", ("torch", "hydra", "polars", "mlflow")),
])  # fmt: skip
def test_imports_stay_light(module, absent):
    code = f"import sys, {module}; print(sorted({set(absent)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_constraints_pin_every_dependency_within_its_range():
    from packaging.requirements import Requirement

    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (REPO / "constraints.txt").read_text().lower(), re.M))
    text = (REPO / "pyproject.toml").read_text()
    import tomllib

    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *(line for extra in extras.values() for line in extra)]:
        wanted = Requirement(line)
        if wanted.name == project["name"]:  # of its own extras
            continue
        assert wanted.name in pins, wanted.name
        assert wanted.specifier.contains(pins[wanted.name]), line

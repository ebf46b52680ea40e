"""Scaling: a known law is found again, its bands cover it, and what is no table is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vavam_ros.core.contracts import ConfigError
from vavam_training.cli.main import main
from vavam_training.contracts import DataError
from vavam_training.evaluation.scaling import Point, fit_law, read_points

SIZES = np.geomspace(1e6, 1e9, 10)


def points(noise: float = 0.0, seed: int = 0) -> list[Point]:
    """2 + 400 · N^−0.34 with noise in the logarithm."""
    noisy = np.exp(noise * np.random.default_rng(seed).normal(size=len(SIZES)))
    return [Point(name=f"{n:g}", parameters=float(n), loss=float(v)) for n, v in zip(SIZES, (2.0 + 400.0 * SIZES**-0.34) * noisy, strict=True)]


def test_a_known_law_is_found_again() -> None:
    fit = fit_law("parameters", points(), resamples=5)
    found = fit.to_dict()
    assert found["E"] == pytest.approx(2.0, rel=1e-3)
    assert found["alpha"] == pytest.approx(0.34, rel=1e-3)
    assert found["A"] == pytest.approx(400.0, rel=1e-2)
    assert fit.rms_log < 1e-6


def test_bands_cover_the_law_beyond_the_points() -> None:
    """At 10 times the largest model, from noise of 1 %: in about 95 of 100."""
    truth, inside, width = 2.0 + 400.0 * (1e10) ** -0.34, 0, []
    for seed in range(15):
        fit = fit_law("parameters", points(0.01, seed), resamples=40, seed=seed)
        inside += fit.band_low[-1] <= truth <= fit.band_high[-1]
        width.append(fit.band_high[-1] - fit.band_low[-1])
    assert inside >= 11
    assert np.median(width) < 0.3  # and it says something


def test_table_to_json_and_page(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    lines = [f"m{i},{p.loss},{p.parameters},{p.parameters * 20}" for i, p in enumerate(points(0.005))]
    table.write_text("\n".join(["name,loss,parameters,tokens", *lines]))
    assert main(["scaling", str(table), "--out", str(tmp_path / "out"), "--resamples", "10"]) == 0
    fits = json.loads((tmp_path / "out" / "scaling.json").read_text())["fits"]
    assert [f["axis"] for f in fits] == ["parameters", "tokens", "compute"]
    compute = fits[2]["points"][0]
    assert compute["x"] == pytest.approx(6 * 1e6 * 2e7)
    assert fits[2]["alpha"] == pytest.approx(fits[0]["alpha"] / 2, rel=0.05)  # compute grows with the square
    assert (tmp_path / "out" / "index.html").read_text().count("data:image/png") == 3


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 3 different values"):
        fit_law("parameters", points()[:3])
    table = tmp_path / "runs.csv"
    table.write_text("loss,size\n1,2\n")
    with pytest.raises(DataError, match="size"):
        read_points(table)
    table.write_text("loss,tokens\n1.5,10\n-1,20\n")
    with pytest.raises(DataError, match="line 3"):
        read_points(table)

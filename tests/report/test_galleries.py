"""Galleries: real networks in the cells of their grid, with the recorded figures beside."""

from __future__ import annotations

import pytest
import torch
from matplotlib.image import AxesImage
from matplotlib.text import Text

from pnnbench.data.datamodule import DataModule
from pnnbench.evaluation.harness import measure_grid
from pnnbench.report import style
from pnnbench.report.galleries import Trained, draw_galleries, gallery_figures
from pnnbench.report.image_pictures import COUNT, images_in_rows
from pnnbench.running.deploying import measure_deployments
from pnnbench.workloads.mrr_images import MRRDigitsAutoencoder, MRRDigitsGAN, MRRDigitsResNet

from ..evaluation.unchanged import same, state
from .overlaps import in_the_way

SHOWN = (-0.25, 0.0, 0.25)


def made(cls, label: str, seed: int):
    """A network as it is before training, measured on the first device of the small grid."""
    workload = cls(seed).eval()
    data = DataModule(workload.data_set, limit_train=300, limit_test=120)
    cells = [
        cell
        for cell in workload.cells("smoke")
        if cell.axis == "temperature_fine" and cell.level in SHOWN
    ]
    cells = [cell for cell in cells if cell.device_seed == cells[0].device_seed]
    readings = measure_grid(workload, *data.test_tensors(), cells)
    steps, _ = measure_deployments(workload, data, cells)
    record = {
        "job": {
            "suite": "images",
            "workload": workload.name,
            "tier": "smoke",
            "seed": seed,
            "method": {"name": "bp", "label": label},
        },
        "metric": {"name": workload.metric_name, "higher_is_better": workload.higher_is_better},
        "headline": workload.headline,
        "cells": [{**c.as_dict(), **r.as_dict()} for c, r in zip(cells, readings, strict=True)],
        "deployments": steps,
    }
    return Trained(label, record, workload), data


def board(cls, labels=("BP", "SAT, adaptive")):
    found = [made(cls, label, seed) for seed, label in enumerate(labels)]
    data = found[0][1]
    return [one for one, _ in found], data.train_tensors(), data.test_tensors()


@pytest.fixture(scope="module")
def reconstruct():
    return board(MRRDigitsAutoencoder)


@pytest.fixture(scope="module")
def generate():
    return board(MRRDigitsGAN, ("SAT, adaptive",))


@pytest.fixture(scope="module")
def classify():
    return board(MRRDigitsResNet, ("BP", "NAT", "SAT"))


@pytest.fixture(scope="module")
def figures(reconstruct, generate, classify):
    """The figures of each board, made once."""
    made = {}
    with style.styled():
        for networks in (reconstruct, generate, classify):
            found, failed = gallery_figures(*networks)
            assert failed == []
            made |= {(networks[0][0].workload.name, name): f for name, f in found.items()}
    return made


def test_each_board_has_the_pictures_that_mean_something(figures):
    assert list(figures) == [
        ("mrr-digits-autoencoder", "images"),
        ("mrr-digits-gan", "images"),
        ("mrr-digits-gan", "features"),
        ("mrr-digits-resnet", "confusions"),
    ]


@pytest.mark.slow
def test_networks_stay_as_they_are(reconstruct, generate, classify, tmp_path):
    networks, train, (latents, images) = generate
    few = networks, train, (latents[:8], images[:8])
    expected = {
        "reconstruct": (reconstruct, ["images"]),
        "generate": (few, ["images", "features"]),
        "classify": (classify, ["confusions"]),
    }
    for name, (networks, pictures) in expected.items():
        before = [state(one.workload) for one in networks[0]]
        said: list[str] = []
        drawn = draw_galleries(*networks, tmp_path, f"{name}-", said.append)
        assert list(drawn) == [f"{name}-{picture}" for picture in pictures]
        assert said == []
        for path in drawn.values():
            assert path.read_text().startswith("<?xml")
            assert path.with_suffix(".png").is_file()
        for one, was in zip(networks[0], before, strict=True):
            same(was, state(one.workload))


@pytest.mark.slow
def test_pictures_are_the_same_bytes_when_drawn_again(reconstruct, tmp_path):
    for folder in ("a", "b"):
        draw_galleries(*reconstruct, tmp_path / folder)
    first, again = (tmp_path / folder / "images.svg" for folder in ("a", "b"))
    assert first.read_bytes() == again.read_bytes()


def test_rows_are_the_originals_and_then_each_network_at_three_temperatures(reconstruct, figures):
    networks, _, (images, _) = reconstruct
    axes = figures["mrr-digits-autoencoder", "images"].axes
    assert len(axes) == 3 * (1 + len(networks))
    assert [ax.get_title(loc="left") for ax in axes[:3]] == ["−0.25 °C", "0 °C", "+0.25 °C"]
    (shown,) = (c for c in axes[0].get_children() if isinstance(c, AxesImage))
    pixels = torch.from_numpy(shown.get_array().data)
    times = pixels.shape[0] // 8
    assert torch.equal(pixels[::times, : 8 * times : times], images[0, 0])
    assert pixels.shape[1] > COUNT * 8 * times
    # The figures below are those of the record, in the headline deployment.
    below = [ax.get_xlabel() for ax in axes[3:6]]
    step = networks[0].record["deployments"][0]
    levels = [cell["level"] for cell in networks[0].record["cells"]]
    for level, text in zip(SHOWN, below, strict=True):
        value = step["values"][levels.index(level)]
        assert text.startswith("MSE ")
        assert float(text.split()[1]) == pytest.approx(value, rel=6e-3)


def test_generated_images_have_precision_and_recall_beside_their_features(generate, figures):
    figure = figures["mrr-digits-gan", "features"]
    axes = figure.axes
    assert len(axes) == 3 * len(generate[0])
    step = generate[0][0].record["deployments"][0]
    levels = [cell["level"] for cell in generate[0][0].record["cells"]]
    for level, ax in zip(SHOWN, axes[:3], strict=True):
        also = step["also"][levels.index(level)]
        told = dict(line.split() for line in ax.get_title().splitlines())
        assert list(told) == ["precision", "recall"]
        for kind, value in told.items():
            (recorded,) = (v for n, v in also.items() if n.startswith(kind))
            assert float(value) == pytest.approx(recorded, rel=6e-3, abs=1e-9)
    # The numbers are of all test images, the points of some.
    (recall,) = (n for n in step["also"][0] if n.startswith("recall"))
    said = " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
    assert f"precision and recall of {recall.rpartition('-n')[2]}" in said
    # The real images have one place in every panel.
    grounds = [ax.lines[0].get_xydata().tolist() for ax in axes]
    assert all(ground == grounds[0] for ground in grounds)
    remark = " ".join(text.get_text() for text in figure.texts)
    assert "17af51a9" in remark


def test_matrices_have_the_accuracy_of_the_headline_deployment(classify, figures):
    networks = classify[0]
    figure = figures["mrr-digits-resnet", "confusions"]
    axes = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in axes] == ["BP", "NAT", "SAT"]
    for one, ax in zip(networks, axes, strict=True):
        levels = [cell["level"] for cell in one.record["cells"]]
        value = one.record["deployments"][0]["values"][levels.index(-0.25)]
        assert ax.get_title(loc="right") == f"{100 * value:.1f} %"
    assert "−0.25" in " ".join(text.get_text() for text in figure.texts)


def test_no_text_overlaps_or_sticks_out(figures, monkeypatch):
    with style.styled():
        for name, figure in figures.items():
            assert in_the_way(figure, monkeypatch, 5) == [], name


def test_coloured_images_and_long_labels_fit(monkeypatch):
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 0.5
    cells = [
        cell
        for cell in MRRDigitsAutoencoder().cells("smoke")
        if cell.axis == "temperature_fine" and cell.level in SHOWN
    ][:3]
    labels = ("BP, equal gradients", "Random misalignment, same law as SAT", "SAT")
    with style.styled():
        figure = images_in_rows(
            "Reconstructed images",
            images,
            dict.fromkeys(labels, [images] * 3),
            cells,
            dict.fromkeys(labels, ["FID 123"] * 3),
            "suite $ & co",
        )
        assert in_the_way(figure, monkeypatch, 5) == []
        (shown,) = (c for c in figure.axes[0].get_children() if isinstance(c, AxesImage))
    array = shown.get_array()
    assert array.shape[2] == 3
    assert 0.0 <= float(array.min()) <= float(array.max()) <= 1.0


def test_what_fails_is_told_and_takes_nothing_else_with_it(generate, tmp_path):
    networks, train, (latents, images) = generate
    one = networks[0]
    broken = Trained(one.label, {**one.record, "headline": "frozen"}, one.workload)
    said: list[str] = []
    # Too few images to embed.
    drawn = draw_galleries([broken], train, (latents[:2], images[:2]), tmp_path, "", said.append)
    assert list(drawn) == ["images"]
    assert len(said) == 1
    assert said[0].startswith("no picture features:")
    assert "points to embed" in said[0]

"""Pictures of what the trained networks of a board give, all rows in the same cells.

Confusion matrices of classifiers, reconstructed or generated images, and the features of generated
images among those of real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from pnnbench.evaluation.cell_outputs import (
    calibration_inputs,
    cell_outputs,
    confusion_matrix,
    feature_network,
    originals,
    swept_cells,
)
from pnnbench.evaluation.embedding import embedded
from pnnbench.evaluation.gaps import Gap, Gaps
from pnnbench.leaderboard.beside import figures_at
from pnnbench.leaderboard.deployments import FROZEN, headline_of
from pnnbench.records.figure_names import heads, parsed
from pnnbench.records.index import workload_of
from pnnbench.report import style
from pnnbench.report.confusion_pictures import confusions
from pnnbench.report.formatting import metric_head, number
from pnnbench.report.image_pictures import COUNT, features_in_panels, images_in_rows
from pnnbench.report.picture_parts import Record
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("confusions", "images", "features")
"""The pictures there are."""
POINTS = 150
"""Images of each network and level whose features are embedded."""
REAL_POINTS = 300
"""Real images among them."""
_BESIDE = ("precision", "recall")


@dataclass(frozen=True)
class Trained:
    """A trained network of a board.

    Attributes:
        label: Label of its row.
        record: Its record.
        workload: The network.
    """

    label: str
    record: Record
    workload: Workload


def draw_galleries(
    trained: Sequence[Trained],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    folder: Path | str,
    prefix: str = "",
    say: Callable[[str], None] | None = None,
) -> dict[str, Path]:
    """Draws the pictures of a board's networks, see `gallery_figures`.

    Args:
        trained: Networks of one workload, tier and seed; afterwards they are what they were, to the
            bit.
        train: Training inputs (N, ...) and targets (N, ...).
        test: Test inputs (N, ...) and targets (N, ...).
        folder: Where the pictures go, as SVG and PNG.
        prefix: What the names of the files begin with.
        say: Told why a picture is left out.

    Returns:
        Name to the path of the SVG.
    """
    drawn: dict[str, Path] = {}
    with style.styled():
        figures, gaps = gallery_figures(trained, train, test)
        for name, figure in figures.items():
            job = trained[0].record["job"]
            title = f"({name}: {job['suite']}, {workload_of(job)}, seed {job['seed']})"
            drawn[prefix + name], _ = style.save(figure, folder, prefix + name, title=title)
    for gap in gaps:
        if say is not None:
            say(f"no picture {gap.part}: {gap.message}")
    return drawn


def gallery_figures(
    trained: Sequence[Trained],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    names: Sequence[str] = NAMES,
) -> tuple[dict[str, Figure], list[Gap]]:
    """Makes ``confusions`` of classifiers, ``images``, and ``features`` of generated images.

    They are those of the headline deployment, on the first test device. To be called inside
    ``style.styled()``.

    Args:
        trained: As for `draw_galleries`.
        train: As for `draw_galleries`.
        test: As for `draw_galleries`.
        names: Which of them.

    Returns:
        Name to figure, of those that have a meaning for the workload; and what failed.
    """
    gaps = Gaps()
    figures: dict[str, Figure] = {}
    gallery = _Gallery(trained, train[0], test)
    makers = {
        "confusions": gallery.confusions,
        "images": gallery.images,
        "features": gallery.features,
    }
    for name in names:
        with gaps.part(name):
            figures[name] = makers[name]()
    return figures, [gap for gap in gaps.found if gap.type != "left-out"]


class _Gallery:
    """The networks of a board, and what they give in the cells that are shown."""

    def __init__(
        self, trained: Sequence[Trained], train: Tensor, test: tuple[Tensor, Tensor]
    ) -> None:
        self.trained = trained
        self.test = test
        self.first = trained[0]
        self.job = self.first.record["job"]
        self.deployment = headline_of(self.first.record)
        self.calibration = calibration_inputs(self.first.workload, train, self.deployment)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that are shown."""
        workload = self.first.workload
        return swept_cells(workload.cells(self.job["tier"]), workload.headline)

    @property
    def facts(self) -> list[str]:
        """What the pictures are of."""
        words = [self.job["suite"], workload_of(self.job), f"{self.job['tier']} tier"]
        words += [self.deployment] if self.deployment != FROZEN else []
        return [*words, f"seed {self.job['seed']}"]

    def confusions(self) -> Figure:
        """Confusion matrices at the lowest level."""
        cell = self.cells[0]
        counts = {
            one.label: confusion_matrix(one.workload, *self.test, cell, self.calibration)
            for one in self.trained
        }
        return confusions(counts, cell, *self.facts, f"{len(self.test[0]):,} test images")

    def outputs(self, one: Trained, count: int) -> list[Tensor]:
        """Outputs of the first test inputs in every cell that is shown."""
        inputs = self.test[0][:count]
        return [cell_outputs(one.workload, inputs, c, self.calibration) for c in self.cells]

    def images(self) -> Figure:
        """The first images of every network."""
        held = originals(self.first.workload, *self.test)
        made = {one.label: self.outputs(one, COUNT) for one in self.trained}
        below = {one.label: self._texts(one, metric=True) for one in self.trained}
        restored = held is self.test[0]
        return images_in_rows(
            "Reconstructed images" if restored else "Generated images, one latent a column",
            held,
            made,
            self.cells,
            below,
            *self.facts,
            first="original" if restored else "real",
        )

    def features(self) -> Figure:
        """Places of the features of generated among those of real images."""
        held = originals(self.first.workload, *self.test)
        network = feature_network(self.first.workload)
        real = network(held[:REAL_POINTS])
        made = {
            one.label: [network(part) for part in self.outputs(one, POINTS)] for one in self.trained
        }
        parts = [real, *(part for mine in made.values() for part in mine)]
        at, *rest = embedded(parts)
        size = len(self.cells)
        places = {label: rest[size * i : size * (i + 1)] for i, label in enumerate(made)}
        above = {one.label: self._texts(one, metric=False) for one in self.trained}
        source = parsed(self.first.record["metric"]["name"]).source
        counts = f"{len(at)} real and {len(rest[0])} generated images a panel"
        # What is recorded of a cell is of all its images.
        names = map(parsed, figures_at(self.first.record, _place(self.cells[0]), self.deployment))
        if images := max((n.images or 0 for n in names if n.kind in _BESIDE), default=0):
            counts += f", precision and recall of {images:,}"
        return features_in_panels(at, places, self.cells, above, *self.facts, counts, source)

    def _texts(self, one: Trained, *, metric: bool) -> list[str]:
        """The recorded figures of each cell in words; empty where the grid lacks the cell."""
        name = one.record["metric"]["name"]
        texts = []
        for cell in self.cells:
            found = figures_at(one.record, _place(cell), self.deployment)
            chosen = {
                n: v
                for n, v in found.items()
                if (n == name) == metric and (metric or parsed(n).kind in _BESIDE)
            }
            words = {name: metric_head(name)} if metric else heads(list(chosen))
            texts.append("\n".join(f"{words[n]} {_short(v)}" for n, v in chosen.items()))
        return texts


def _short(value: float) -> str:
    return number(float(f"{value:.3g}"))


def _place(cell: Cell) -> tuple[str, float, float, int | None]:
    return cell.axis, cell.level, cell.severity, cell.device_seed

"""Pictures of trained optics: modulator images, phase masks, light on the detectors.

The functions that make a figure are to be called inside ``style.styled()``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pnnbench.evaluation.gaps import Gaps
from pnnbench.evaluation.harness import NOISE_BLOCK
from pnnbench.evaluation.hessian import deployed
from pnnbench.evaluation.outputs import require_class_labels
from pnnbench.platforms.diffractive import DetectorPlane, DiffractiveStack
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.misalignment import Misalignment, MisalignmentEnvironment, sample, taps
from pnnbench.report import style
from pnnbench.report.picture_parts import Record, remark
from pnnbench.workloads.base import Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Rotation in degrees at which a modulator is shown against the light.
TURN_DEG = 2.0
#: Test images of which the light on the detectors is the mean, and classes shown, at most.
MOST_IMAGES, MOST_CLASSES = 500, 10
#: Decades that the colours of intensities span.
_DECADES = 3
#: Width of a panel in inches: modulator, mask, detector plane. Masks and classes in a row at most.
_MODULATOR, _MASK, _DETECTORS = 3.0, 2.5, 1.5
_MASKS_IN_ROW, _CLASSES_IN_ROW = 3, 5


def optics_figures(
    workload: Workload,
    record: Record,
    images: Tensor,
    labels: Tensor,
    gaps: Gaps | None = None,
) -> dict[str, Figure]:
    """Draws what the optics of a workload have to show.

    Args:
        workload: A trained workload; afterwards it is what it was, to the bit.
        record: Its record.
        images: Test images (N, ...).
        labels: Targets (N, ...).
        gaps: Takes why the picture of the detectors is left out; None lets errors through.

    Returns:
        ``modulators`` of free-space products; ``masks`` of a diffractive stack, and ``detectors``
        of a diffractive classifier. Empty for other platforms.
    """
    layers = workload.layers()
    figures: dict[str, Figure] = {}
    products = {name: m for name, m in layers.items() if isinstance(m, FreeSpaceLayer)}
    if products:
        figures["modulators"] = modulators(products, record)
    stacks = {name: m for name, m in layers.items() if isinstance(m, DiffractiveStack)}
    if stacks:
        figures["masks"] = masks(stacks, record)
    ends = [m for m in stacks.values() if isinstance(m.deployed_detector_plane, DetectorPlane)]
    if len(ends) == 1:
        with (Gaps(strict=True) if gaps is None else gaps).part("detectors"):
            figures["detectors"] = detectors(workload, record, images, labels)
    return figures


# --- modulators --------------------------------------------------------------------------------


@torch.no_grad()
def modulator_image(layer: FreeSpaceLayer, environment: MisalignmentEnvironment) -> Tensor:
    """What the light at each place of the display meets on the first modulator image of a layer.

    Args:
        layer: The layer; its weights are those of the ideal device.
        environment: How the modulator stands against the display.

    Returns:
        Weights (rows, columns), float64; 0 where the modulator shows none.
    """
    layout = layer.layout
    values = torch.zeros(layout.per_image, layer.weight.shape[1], dtype=torch.float64)
    shown = layer.weight.detach().double().cpu()[: layout.per_image]
    values[: len(shown)] = shown
    across = torch.meshgrid(*(torch.arange(size) for size in layout.shape), indexing="ij")
    rows, columns = (places.flatten() for places in across)
    conditions = {name: torch.tensor(value) for name, value in environment.as_dict().items()}
    misalignment = Misalignment.of(conditions, {}, layer.answers_to)
    index, share = taps(misalignment, layout.table(), rows, columns, layer.sampling)
    return sample(values.flatten()[:, None], index, share)[0, :, 0].view(layout.shape)


def modulators(layers: dict[str, FreeSpaceLayer], record: Record) -> Figure:
    """First modulator image of each layer, aligned, and rotated against the tiles of light.

    Args:
        layers: Name to layer, at least one.
        record: The record of the run.

    Returns:
        The figure: one row per layer with its own colour scale; frames stand where the display
        shows the inputs.
    """
    heights = [_MODULATOR * m.layout.shape[0] / m.layout.shape[1] for m in layers.values()]
    figure = style.new_figure(2 * _MODULATOR + 1.9, 1.0 + sum(h + 0.68 for h in heights))
    places = figure.subplots(len(layers), 2, squeeze=False, height_ratios=heights)
    for i, (name, layer) in enumerate(layers.items()):
        turned = MisalignmentEnvironment(rotation_deg=TURN_DEG)
        pictures = [modulator_image(layer, e) for e in (MisalignmentEnvironment(), turned)]
        most = max(float(pictures[0].abs().max()), 1e-12)
        words = f"rotated by {TURN_DEG:g}°"
        if "rotation_deg" not in layer.answers_to:
            words = "held when others rotate"
        for k, (ax, picture) in enumerate(zip(places[i], pictures, strict=True)):
            image = ax.imshow(
                picture.tolist(), cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest"
            )
            _frame_tiles(ax, layer)
            ax.set_title(style.plain(f"{name}, {words if k else 'aligned'}"))
            ax.spines[["left", "bottom"]].set_visible(False)
            ax.set_yticks(_ticks(layer.layout.shape[0]))
            ax.set_xticks(_ticks(layer.layout.shape[1]))
            if i == len(layers) - 1:
                ax.set_xlabel("column (px)")
            if k == 0:
                ax.set_ylabel("row (px)")
                count = min(layer.layout.per_image, len(layer.weight))
                text = f"{count} of {len(layer.weight)} outputs"
                ax.set_title(text, loc="right", fontsize=8, color=style.QUIET)
            else:
                ax.tick_params(left=False, labelleft=False)
                style.color_bar(ax, image, f"weight\n({style.unit_text(layer.control_unit)})")
    facts = ["first image of each layer", "frames: where the light of one output falls"]
    style.heading(figure, "Modulator images", remark(record, *facts))
    return figure


def _ticks(size: int) -> list[int]:
    """Round pixel numbers, five or so, from 0."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, size) if size / s <= 6)
    return list(range(0, size, step))


def _frame_tiles(ax: Axes, layer: FreeSpaceLayer) -> None:
    from matplotlib.patches import Rectangle

    layout = layer.layout
    top, left = ((c - t) // 2 for c, t in zip(layout.cell, layout.tile, strict=True))
    width, height = layout.tile[1] * layout.column_pixels, layout.tile[0]
    for k in range(min(layout.per_image, len(layer.weight))):
        a, b = divmod(k, layout.cells[1])
        x = (b * layout.cell[1] + left) * layout.column_pixels - 0.5
        y = a * layout.cell[0] + top - 0.5
        ax.add_patch(Rectangle((x, y), width, height, fill=False, ec=style.INK, lw=0.6))


# --- phase masks -------------------------------------------------------------------------------


def masks(stacks: dict[str, DiffractiveStack], record: Record) -> Figure:
    """Phase masks modulo 2 pi, on a cyclic colour scale.

    Args:
        stacks: Name to stack, at least one.
        record: The record of the run.

    Returns:
        The figure.
    """
    shown = [
        (f"{name}, mask {i}" if len(stacks) > 1 else f"Mask {i}", stack.plane, phase)
        for name, stack in stacks.items()
        for i, phase in enumerate(stack.phase.detach().double().cpu(), start=1)
    ]
    across = min(len(shown), _MASKS_IN_ROW)
    down = -(-len(shown) // across)
    figure = style.new_figure(1.4 + (_MASK + 0.1) * across, 1.2 + (_MASK + 0.45) * down)
    places = list(figure.subplots(down, across, squeeze=False).flat)
    for k, (ax, (title, plane, phase)) in enumerate(zip(places, shown, strict=False)):
        image = ax.imshow(
            torch.remainder(phase, 2 * math.pi).tolist(),
            cmap="twilight",
            vmin=0.0,
            vmax=2 * math.pi,
            interpolation="nearest",
            extent=_extent(plane.n, plane.pixel_um),
        )
        ax.set_title(style.plain(title))
        _micrometres(ax, left=k % across == 0, lowest=k + across >= len(shown))
        if k == across - 1:
            bar = style.color_bar(ax, image, "phase (rad)")
            quarters = [0.5 * math.pi * i for i in range(5)]
            bar.set_ticks(quarters, labels=["0", "π/2", "π", "3π/2", "2π"])
    for empty in places[len(shown) :]:
        empty.remove()
    pixels = " and ".join(sorted({f"pixels of {p.pixel_um:g} µm" for _, p, _ in shown}))
    style.heading(figure, "Phase masks", remark(record, "modulo 2π", pixels))
    return figure


def _extent(n: int, pixel_um: float) -> tuple[float, float, float, float]:
    """Edges of a plane about its middle in um: left, right, bottom, top; y points down."""
    half = 0.5 * n * pixel_um
    return (-half, half, half, -half)


def _micrometres(ax: Axes, *, left: bool, lowest: bool) -> None:
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.locator_params(nbins=5)
    ax.tick_params(left=left, labelleft=left, bottom=lowest, labelbottom=lowest)
    if left:
        ax.set_ylabel("y (µm)")
    if lowest:
        ax.set_xlabel("x (µm)")


# --- light on the detectors --------------------------------------------------------------------


def _detector_plane(workload: Workload) -> DetectorPlane:
    """The deployed one."""
    stacks = (m for m in workload.modules() if isinstance(m, DiffractiveStack))
    planes = (m.deployed_detector_plane for m in stacks)
    return next(m for m in planes if isinstance(m, DetectorPlane))


def detector_squares(workload: Workload) -> list[tuple[int, int, int]]:
    """Row, column and side of each detector behind a stack, in samples."""
    plane = _detector_plane(workload)
    return [(row, column, plane.detectors.side) for row, column in plane.detectors.corners]


@torch.no_grad()
def detector_intensity(workload: Workload, images: Tensor) -> Tensor:
    """Intensity on the whole plane of the detectors, of the aligned and ideal device.

    Args:
        workload: A workload whose last layer is a stack with a `DetectorPlane`.
        images: Images (N, ...).

    Returns:
        Share of each image's power per sample (N, n, n), float64.
    """
    plane = _detector_plane(workload)
    fields: list[Tensor] = []

    def catch(module: nn.Module, args: tuple[Any, ...]) -> None:
        fields.append(args[0])

    hook = plane.register_forward_pre_hook(catch)
    try:
        with deployed(workload):
            for part in images.split(NOISE_BLOCK):
                workload.network(part)
    finally:
        hook.remove()
    planes = []
    for field in fields:
        at = field.cpu()
        for element in plane.elements:
            at = element(at)
        planes.append((at.real.square() + at.imag.square()).double())
    return torch.cat(planes)


def detectors(workload: Workload, record: Record, images: Tensor, labels: Tensor) -> Figure:
    """Mean intensity on the plane of the detectors by class, with the detectors drawn in.

    The colours are logarithmic: light may well miss the detectors.

    Args:
        workload: A trained classifier that ends in a stack with a `DetectorPlane`; afterwards
            it is what it was, to the bit.
        record: Its record.
        images: Test images (N, 1, H, W).
        labels: Class indices (N,).

    Returns:
        The figure: one panel per class and one colour scale; beside each title the share of the
        detected light that falls on the detector of the class.

    Raises:
        LeftOutError: If the labels are not the classes of the workload.
        NotFiniteError: If an output is not finite.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import LogLocator, NullLocator

    images, labels = images[:MOST_IMAGES], labels[:MOST_IMAGES].cpu()
    with torch.no_grad(), deployed(workload):
        outputs = workload.network(images).cpu()
        require_class_labels(workload, outputs, labels, images.cpu())
    every = detector_intensity(workload, images)
    squares = detector_squares(workload)
    stack = next(m for m in workload.modules() if isinstance(m, DiffractiveStack))
    sampled = stack.deployed_plane
    n, pixel_um = sampled.n, sampled.pixel_um
    classes = [k for k in range(len(squares)) if bool((labels == k).any())][:MOST_CLASSES]
    means = {k: 100 * every[labels == k].mean(0) for k in classes}
    most = max(1e-9, *(float(mean.max()) for mean in means.values()))
    detected = 0.0
    across = min(len(classes), _CLASSES_IN_ROW)
    down = -(-len(classes) // across)
    figure = style.new_figure(
        max(1.6 + (_DETECTORS + 0.1) * across, 5.0), 1.15 + (_DETECTORS + 0.32) * down
    )
    places = list(figure.subplots(down, across, squeeze=False).flat)
    for i, (ax, (k, mean)) in enumerate(zip(places, means.items(), strict=False)):
        extent = _extent(n, pixel_um)
        image = ax.imshow(
            mean.clamp(min=most / 10**_DECADES).tolist(),
            cmap="magma",
            norm=LogNorm(most / 10**_DECADES, most),
            interpolation="nearest",
            extent=extent,
        )
        powers = []
        for j, (row, column, side) in enumerate(squares):
            powers.append(float(mean[row : row + side, column : column + side].sum()))
            corner = (extent[0] + column * pixel_um, extent[3] + row * pixel_um)
            width = 1.6 if j == k else 0.5
            size = side * pixel_um
            ax.add_patch(Rectangle(corner, size, size, fill=False, ec="white", lw=width))
        detected += sum(powers) * float((labels == k).sum()) / len(labels)
        ax.set_title(f"Class {k}")
        own = f"{100 * powers[k] / max(sum(powers), 1e-30):.0f} %"
        ax.set_title(own, loc="right", fontsize=8, color=style.QUIET)
        _micrometres(ax, left=i % across == 0, lowest=i + across >= len(classes))
        if i == across - 1:
            bar = style.color_bar(ax, image, "power per sample\n(% of the input)")
            bar.ax.yaxis.set_major_locator(LogLocator())
            bar.ax.yaxis.set_minor_locator(NullLocator())
            bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for empty in places[len(classes) :]:
        empty.remove()
    facts = [
        f"mean of {len(images):,} test images",
        f"{style.number_text(detected)} % of the input is detected",
        "thick: detector of the class and its share of the detected light",
    ]
    style.heading(figure, "Light on the detectors", remark(record, *facts))
    return figure

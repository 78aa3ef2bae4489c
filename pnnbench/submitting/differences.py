"""Where a record and what was computed from its tensors differ, field by field."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from pnnbench.evaluation.outputs import SCALE_RANGE
from pnnbench.evaluation.points import is_minimum
from pnnbench.records.metric import same_metric
from pnnbench.records.schema import FROZEN
from pnnbench.submitting.rounding import UNDECIDED, relative_limit

#: Figures of sharpness that are compared -> allowed relative difference; the eigenvalues have the
#: error bound of their solver beside that.
SHARPNESS = {
    "train_loss": 1e-4,
    "n_images": 0.0,
    "n_controls": 0.0,
    "gradient_norm": 0.02,
    "lambda_max": 1e-3,
    "lambda_max_calibrated": 1e-3,
    "guessing_loss": 1e-3,
    "lambda_max_low": 0.02,
    "lambda_max_high": 0.02,
    "lambda_max_subsample": 5e-3,
    "lambda_min": 0.02,
    "common_mode": 0.02,
    "softmax_scale": 0.02,
    "softmax_scale_images": 0.0,
    "at_guessing": 0.0,
    "device_increase": 0.02,
    "device_increase_low": 0.02,
    "device_increase_high": 0.02,
    "device_images": 0.0,
    "ball_increase": 0.05,
    "ball_slope": 0.02,
    "ball_curvature": 5e-3,
    "ball_images": 0.0,
    "ball_radius": 1e-6,
    "ball_radius_rms": 1e-6,
}
#: Those that may be small beside another figure, to which the difference is relative then.
_BESIDE = {
    "lambda_min": "lambda_max",
    "common_mode": "lambda_max",
    "lambda_max_low": "lambda_max",
    "device_increase_low": "device_increase",
}
#: Allowed relative difference of figures beside the metric.
_EXTRA = 1e-3
#: Share of the images that rounding may flip, at most; one image at least.
FLIPS = 0.002
#: Part of an image that is none: an accuracy is a whole number of images, divided.
_SAME = 1e-6
#: Parts of a record that no tensors tell.
CLAIMED = (
    "cost", "curves", "provenance", "earlier", "outcomes", "extra.method", "gaps", "sharpness.*",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Difference:
    """One field of a record that is not what was computed.

    Attributes:
        field: Dotted path inside the record.
        recorded: What stands there; None where nothing does.
        computed: What was computed; None where there is nothing.
        allowed: How far the two may be apart.
    """

    field: str
    recorded: Any
    computed: Any
    allowed: float = 0.0


def exact(field: str, recorded: Any, computed: Any) -> Iterator[Difference]:
    """Compares two JSON values leaf by leaf.

    Args:
        field: Dotted path of both.
        recorded: What the record says.
        computed: What it should say.

    Yields:
        Every leaf that differs.
    """
    if isinstance(recorded, Mapping) and isinstance(computed, Mapping):
        for key in dict.fromkeys([*computed, *recorded]):
            yield from exact(f"{field}.{key}", recorded.get(key), computed.get(key))
    elif isinstance(recorded, list) and isinstance(computed, list):
        if len(recorded) != len(computed):
            yield Difference(f"{field} length", len(recorded), len(computed))
        for i, (one, other) in enumerate(zip(recorded, computed, strict=False)):
            yield from exact(f"{field}[{i}]", one, other)
    elif type(recorded) is bool or type(computed) is bool:
        if recorded is not computed:
            yield Difference(field, recorded, computed)
    elif recorded != computed:
        yield Difference(field, recorded, computed)


@dataclasses.dataclass
class Agreement:
    """Values of cells on their way: each within its tolerance, and all of them together.

    Attributes:
        images: Test images, where the metric is the accuracy; None for another one.
        rounding: What `output_rounding` gives.
        largest: Largest difference so far: of an accuracy absolute, else relative; infinite where
            only one side has a value.
        allowed: Largest allowed one of a value so far.
        terms: Size of the terms of which a value is a difference, such as a distance that is near
            0; rounding is relative to them.
    """

    images: int | None
    rounding: float
    terms: float = 0.0
    largest: float = 0.0
    allowed: float = 0.0
    _parts: dict[str, list[tuple[float, int]]] = dataclasses.field(default_factory=dict)

    def compare(
        self,
        field: str,
        recorded: float | None,
        computed: float | None,
        also: Mapping[str, float],
        part: str = "",
    ) -> Iterator[Difference]:
        """Compares one value.

        Args:
            field: Where it stands.
            recorded: What the record says; None where it has a gap.
            computed: What was computed; None where there is nothing.
            also: Figures beside the latter: how many images rounding may flip.
            part: What is averaged with it: values of one part are held together too.

        Yields:
            The difference, where it is larger than rounding allows.
        """
        if recorded is None or computed is None:
            if recorded is not computed:
                self.largest = math.inf
                yield Difference(field, recorded, computed)
            return
        apart = recorded - computed
        if self.images is None:
            size = max(abs(computed), self.terms) or 1.0
            limit = relative_limit(self.rounding)
            signed, flips = apart / size, 0
        else:
            size = 1.0
            # Outputs that are all alike decide nothing: they shall not bear any claim.
            flips = min(int(also.get(UNDECIDED, 0)), max(1, int(FLIPS * self.images)))
            limit = (flips + _SAME) / self.images
            signed = apart * self.images
        self._parts.setdefault(part, []).append((signed, flips))
        self.largest = max(self.largest, abs(apart) / size)
        self.allowed = max(self.allowed, limit)
        if abs(apart) > limit * size:
            yield Difference(field, recorded, computed, limit * size)

    def whole(self) -> Iterator[Difference]:
        """Compares all values together, and those of each part.

        Rounding knows no direction, so that its sum grows as the root. The parts are those that a
        score averages: what is added to cells that count cannot be taken from cells that do not.

        Yields:
            The sum of the differences, in images or relative, where it is larger than that.
        """
        parts = {part: values for part, values in self._parts.items() if part}
        everything = [one for values in self._parts.values() for one in values]
        for part, values in {"": everything, **parts}.items():
            total = math.fsum(signed for signed, _ in values)
            limit = self._together(values)
            if abs(total) > limit:
                where = f"cells together, in one direction{part and f', {part}'}"
                yield Difference(where, total, 0.0, limit)

    def _together(self, values: Sequence[tuple[float, int]]) -> float:
        """How far the sum of some differences may be from 0."""
        if self.images is None:
            return relative_limit(self.rounding) * (1.0 + 3.0 * math.sqrt(len(values)))
        flips = sum(one for _, one in values)
        return min(float(flips), 1.0 + 3.0 * math.sqrt(flips)) + _SAME * (1 + len(values))


def differences(
    record: Mapping[str, Any],
    computed: Mapping[str, Any],
    *,
    accuracy: bool,
    rounding: float,
) -> list[Difference]:
    """Compares what a record says was measured with what was measured from its tensors.

    Args:
        record: The record.
        computed: What `pnnbench.running.measuring.measure` gives, with the images that rounding may
            flip beside each accuracy.
        accuracy: Whether the metric is the accuracy.
        rounding: What `output_rounding` gives.

    Returns:
        Every field that differs by more than rounding allows.
    """
    found = [
        *exact("data", record["data"], computed["data"]),
        *(
            []
            if same_metric(record["metric"], computed["metric"])
            else exact("metric", record["metric"], computed["metric"])
        ),
    ]
    images = computed["data"]["n_test"]
    metric = computed["metric"]
    # The spread of the real features alone is less than the distance of one image for all.
    terms = float(metric.get("chance", 0.0)) if metric["name"].startswith("fid-") else 0.0
    agreement = Agreement(images if accuracy else None, rounding, terms)
    found += agreement.compare(
        "clean", record["clean"], computed["clean"], computed.get("also", {})
    )
    found += _beside("clean", record, computed, rounding, images)
    places = [place_of(cell) for cell in computed["cells"]]
    recorded = {repr(place_of(cell)): (i, cell) for i, cell in enumerate(record["cells"])}
    for place, cell in zip(places, computed["cells"], strict=True):
        i, other = recorded.pop(repr(place), (None, None))
        if other is None:
            found.append(Difference("cells", None, place))
            continue
        field = f"cells[{i}]"
        part = _part(FROZEN, cell["axis"], counts=cell["counts"])
        also = cell.get("also", {})
        found += agreement.compare(field, other["value"], cell["value"], also, part)
        found += exact(f"{field}.counts", other.get("counts", True), cell["counts"])
        found += _beside(field, other, cell, rounding, images)
    found += [Difference(f"cells[{i}]", place_of(cell), None) for i, cell in recorded.values()]
    # Values of deployments stand in the order of the cells, and have no places of their own.
    order = [place_of(cell) for cell in record["cells"]]
    moved = [i for i, pair in enumerate(zip(order, places, strict=False)) if pair[0] != pair[1]]
    if moved and len(order) == len(places):
        found.append(Difference(f"cells[{moved[0]}], order", order[moved[0]], places[moved[0]]))
    found += _deployments(record, computed, agreement, images)
    own, measured = record.get("training_device"), computed.get("training_device")
    if own is None or measured is None:
        found += exact("training_device", own, measured)
    else:
        keys = ("seed", "severity", "unit")
        for key in keys:
            found += exact(f"training_device.{key}", own[key], measured[key])
        also = measured.get("also", {})
        found += agreement.compare("training_device.value", own["value"], measured["value"], also)
        found += _beside("training_device", own, measured, rounding, images)
    found += agreement.whole()
    found += _sharpness(record["sharpness"], computed["sharpness"])
    found += _extra(record.get("extra", {}), computed.get("extra", {}))
    return found


def _part(deployment: str, axis: str, *, counts: bool) -> str:
    """Cells that weigh the same in one score."""
    return f"{deployment}: {axis}" + ("" if counts else ", not counted")


def place_of(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Where a cell stands, the nominal level and the source of its device included."""
    keys = ("axis", "level", "unit", "severity", "environment", "device_seed")
    found = {key: cell[key] for key in keys}
    found["environment"] = {k: float(v) for k, v in sorted(cell["environment"].items())}
    found |= {key: float(cell[key]) for key in ("level", "severity")}
    return {**found, "nominal": str(cell.get("nominal", 0.0)), "source": cell.get("source", "")}


#: First word of a figure beside the metric -> size of the terms of which it is a difference: means
#: of a kernel of about 1, a ratio of such, ten logarithms.
_TERMS = {"kid": 1.0, "ssim": 1.0, "psnr": 10.0}
#: Figures that are shares of the images, of which rounding may move some across.
_SHARES = ("precision", "recall")
_ACROSS = 2


def _beside(
    field: str,
    recorded: Mapping[str, Any],
    computed: Mapping[str, Any],
    rounding: float,
    images: int,
) -> Iterator[Difference]:
    """Images whose outputs are not finite, and the figures beside the metric."""
    dark = (recorded.get("not_finite", 0), computed.get("not_finite", 0))
    yield from exact(f"{field}.not_finite", *dark)
    told = recorded.get("also", {})
    own = {k: v for k, v in computed.get("also", {}).items() if k != UNDECIDED}
    for key in dict.fromkeys([*own, *told]):
        limit, word = relative_limit(rounding), key.replace("_", "-").partition("-")[0]
        least = limit * _TERMS.get(word, 0.0) + (word in _SHARES) * _ACROSS / images
        yield from _near(f"{field}.also.{key}", told.get(key), own.get(key), limit, least)


def _near(
    field: str, recorded: Any, computed: Any, relative: float, least: float = 0.0
) -> Iterator[Difference]:
    """Compares two numbers relative to the computed one, beyond what may differ in any case."""
    if not _is_number(recorded) or not _is_number(computed):
        if recorded != computed:
            yield Difference(field, recorded, computed)
        return
    allowed = max(relative * abs(computed), least)
    if abs(recorded - computed) > allowed:
        yield Difference(field, recorded, computed, allowed)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _deployments(
    record: Mapping[str, Any], computed: Mapping[str, Any], agreement: Agreement, images: int
) -> Iterator[Difference]:
    yield from exact("headline", record.get("headline"), computed.get("headline"))
    own, measured = record.get("deployments", []), computed.get("deployments", [])
    told, known = ([step["name"] for step in steps] for steps in (own, measured))
    if told != known:
        yield Difference("deployments", told, known)
        return
    for i, (one, other) in enumerate(zip(own, measured, strict=True)):
        field = f"deployments[{i}]"
        for key in ("images", "queries", "counts"):
            yield from exact(f"{field}.{key}", one.get(key), other.get(key))
        also: Sequence[Mapping[str, float]] = other.get("also", [{}] * len(other["values"]))
        counts = other.get("counts", [cell["counts"] for cell in computed["cells"]])
        for k, (a, b) in enumerate(zip(one["values"], other["values"], strict=False)):
            axis = computed["cells"][k]["axis"]
            part = _part(other["name"], axis, counts=counts[k])
            yield from agreement.compare(f"{field}.values[{k}]", a, b, also[k], part)
        beside = one.get("also", [{}] * len(one["values"]))
        for k, (a, b) in enumerate(zip(beside, also, strict=False)):
            where = f"{field}.values[{k}]"
            yield from _beside(where, {"also": a}, {"also": b}, agreement.rounding, images)


def _sharpness(recorded: Mapping[str, Any], computed: Mapping[str, Any]) -> Iterator[Difference]:
    yield from exact("sharpness.point", recorded.get("point"), computed.get("point"))
    for key, relative in SHARPNESS.items():
        own, measured = recorded.get(key), computed.get(key)
        if own is None and (measured is None or _at_an_end(key, recorded)):
            continue  # there is nothing to measure
        if not _is_number(own) or not _is_number(measured):
            yield Difference(f"sharpness.{key}", own, measured)
            continue
        allowed = _allowed(key, relative, computed)
        if abs(own - measured) > allowed:
            yield Difference(f"sharpness.{key}", own, measured, allowed)
    yield from _minimum(recorded, computed)


def _allowed(key: str, relative: float, computed: Mapping[str, Any]) -> float:
    bound = float(computed.get(f"{key}_error_bound", 0.0))
    size = max(abs(computed[key]), abs(computed.get(_BESIDE.get(key, key), 0.0)))
    return 2.0 * bound + relative * size


def _at_an_end(key: str, recorded: Mapping[str, Any]) -> bool:
    """Whether a figure is left out for a scale at an end of its range, which is compared itself."""
    return key == "lambda_max_calibrated" and recorded.get("softmax_scale") in SCALE_RANGE


def _minimum(recorded: Mapping[str, Any], computed: Mapping[str, Any]) -> Iterator[Difference]:
    """The mark of a minimum, which may be another one where rounding moves its figures across."""
    told, found = recorded.get("is_minimum"), computed.get("is_minimum")
    if told == found:
        return
    if told is not None and found is not None:
        near = [dict(computed)]
        for key in ("gradient_norm", "lambda_min"):
            half = _allowed(key, SHARPNESS[key], computed)
            near = [{**one, key: one[key] + by} for one in near for by in (-half, half)]
        if told in {int(is_minimum(figures)) for figures in near}:
            return
    yield Difference("sharpness.is_minimum", told, found)


def _extra(recorded: Mapping[str, Any], computed: Mapping[str, Any]) -> Iterator[Difference]:
    """Figures of the workload's own; what the method says of its training is claimed."""
    for key in dict.fromkeys([*computed, *recorded]):
        if key != "method":
            yield from _near(f"extra.{key}", recorded.get(key), computed.get(key), _EXTRA)

"""Choices of the platforms; read by scripts/protocol.py."""

from __future__ import annotations

from choice import Choice, T, levels, longer, tiers

from pnnbench.methods import pruning
from pnnbench.platforms import diffractive as diffractive_layer
from pnnbench.platforms.mrr import MIN_DEPTH, MIN_LINEWIDTH
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.platforms.rings import EXPERIMENT_GAP_HWHM, RingCalibration
from pnnbench.workloads import diffractive, freespace, mrr, mzi
from pnnbench.workloads.misaligned import Levels

RING = RingCalibration()


def microrings() -> list[Choice]:
    """Microring weight banks."""
    count = f"{levels(mrr.SEVERITIES_FROZEN)}; calibrated {levels(mrr.SEVERITIES_CALIBRATED)}"
    fine = f"{levels(mrr.FINE_FROZEN)}; calibrated {levels(mrr.FINE_CALIBRATED)} degC"
    leak = f"{levels(mrr.CROSSTALK_FROZEN)}; calibrated {levels(mrr.CROSSTALK_CALIBRATED)}"
    return [
        Choice(
            "Ring",
            f"rest detuning {RING.rest_detuning_nm} nm, half width {RING.hwhm_nm} nm, "
            f"{RING.tuning} nm/mA^2, w = {RING.bias} - {RING.depth} / (1 + u^2), 0 to "
            f"{RING.max_current:g} mA",
            "calibration B, the mean of four measured tuning curves anchored on the stated laser "
            "detuning; gives the stated quality factor",
            T + "platforms/test_mrr.py::test_default_quality_factor_is_the_stated_one",
        ),
        Choice(
            "Resonance spread",
            f"{RING.offset_spread_hwhm} half widths (severity 1)",
            "within the two pairs of rings that share a laser setting, two degrees of freedom, "
            "95 % "
            "interval 0.08 to 1.0; 0.28 over all four with their detuning taken out",
            T + "platforms/test_mrr.py::test_spreads_are_the_measured_ones_times_the_severity",
        ),
        Choice(
            "The experiment as run",
            f"{EXPERIMENT_GAP_HWHM} half widths (severity {mrr.EXPERIMENT:g}), without weight",
            "one curve for all rings, deliberate laser differences included: no spread of "
            "fabrication",
            T + "workloads/test_mrr.py::test_the_grid_varies_devices_and_temperature",
        ),
        Choice(
            "Linewidth, floor, depth",
            f"{RING.hwhm_spread:g} relative, {RING.floor_spread:g}, {RING.depth_spread:g}",
            "as measured; floor b - d and depth d vary independently, so that b and d correlate as "
            f"they do; linewidths keep {MIN_LINEWIDTH:g} and depths {MIN_DEPTH:g} of nominal",
            T + "platforms/test_mrr.py::test_spreads_are_the_measured_ones_times_the_severity",
        ),
        Choice(
            "Bank",
            f"{RING.bank_rows} x {RING.bank_columns} rings, tiled over the matrix",
            "the chip has so many; the errors of a ring come back in every tile and add up",
            T + "platforms/test_mrr.py::test_the_errors_of_a_ring_come_back_in_every_tile",
        ),
        Choice(
            "Read-out noise",
            f"{RING.readout_noise} of the light that one row of the bank can pass on, "
            f"{RING.detection}, each tile read by itself",
            "250 products each of two runs (figure S8b); a share of what the photodiode could see, "
            "not of each network's own largest output",
            T + "platforms/test_mrr.py::test_noise_is_that_of_photodiodes_read_tile_by_tile",
        ),
        Choice(
            "Device severities",
            f"{levels(mrr.SEVERITIES)} x fabrication spread; counted {count}",
            "see the rows beside the constants in pnnbench/workloads/mrr.py",
            T + "workloads/test_mrr.py::test_the_grid_varies_devices_and_temperature",
        ),
        Choice(
            "Temperature",
            f"{levels(mrr.FINE_DEGC)} degC off 22 degC at severity {mrr.TEMPERATURE_SEVERITY:g}; "
            f"counted {fine}; {levels(mrr.WIDE_DEGC)} degC without weight",
            f"{RING.drift_nm_per_degc} nm/degC as stated; the wide range is the published 20 to "
            "23 degC, where every row guesses",
            T + "workloads/test_mrr.py::test_the_grid_varies_devices_and_temperature",
        ),
        Choice(
            "Thermal cross-talk",
            f"{levels(mrr.CROSSTALK)} of a neighbour's shift; counted {leak}",
            "an axis of its own with its coefficient as level: nobody has measured it on the chip",
            T + "platforms/test_mrr.py::test_crosstalk_of_a_device_and_of_its_environment_add_up",
        ),
        Choice(
            "Training range of the temperature",
            f"{mrr.TRAINING_DEGC:g} degC",
            "0.6 of the fine range, no level of it",
            T + "methods/test_environment.py::test_no_law_has_an_atom_nor_stands_on_a_test_level",
        ),
        Choice(
            "Offset calibration",
            f"batch-norm statistics taken again on each device in each environment from "
            f"{mrr.MRRDigits.offset_calibration_images} images without labels; queries counted",
            "what a laboratory does first; every row stands on both boards",
            T + "workloads/test_calibration.py::"
            "test_each_condition_has_the_statistics_that_it_measures",
        ),
        Choice(
            "Headline",
            mrr.MRRDigits.headline,
            "decided before any row was run: without it the score tells how well sums of weights "
            "are balanced against a common shift",
            T + "workloads/test_mrr.py::test_the_description_is_plain_and_complete",
        ),
        Choice(
            "Heater power",
            f"effective resistance {RING.resistance_ohm:g} ohm",
            "gives the stated 0.53 nm/mW; the stated 375 ohm contradicts the measured curves",
            T + "platforms/test_mrr.py::test_power_is_the_heater_power_in_milliwatts",
        ),
        Choice(
            "Published pruning",
            f"strength {pruning.PUBLISHED_STRENGTH}, SGD on weights",
            "0.01 on half of the slope per unit x = 0.15 u of the published code",
            T + "methods/test_pruning_weights.py::"
            "test_the_published_strength_is_that_of_the_published_code",
        ),
        Choice(
            "Length",
            tiers("mrr-mnist", "epochs") + " epochs on mrr-mnist",
            "at 12 epochs instead of 3 the spread between seeds falls from 3.8 to 0.6 points",
        ),
    ]


def meshes() -> list[Choice]:
    """Meshes of Mach-Zehnder interferometers."""
    mesh = mzi.MZIMNIST().network.mesh
    assert isinstance(mesh, MZIMesh)  # noqa: S101 - for the type checker
    return [
        Choice(
            "Phase errors",
            f"N(0, s) rad on theta and phi; {levels(mzi.SEVERITIES)}; counted "
            f"{levels(mzi.COUNTED)} (mzi-digits {levels(mzi.COUNTED_DIGITS)}, mzi3-mnist "
            f"{levels(mzi.MZI3MNIST.counted)})",
            "see the rows beside the constants in pnnbench/workloads/mzi.py; those of mzi3-mnist "
            "are "
            "scaled from one mesh, not measured",
            T + "workloads/test_mzi.py::test_the_grid_has_devices_phases_and_couplers_apart",
        ),
        Choice(
            "Coupler errors of a device",
            f"power imbalance of {mzi.IMBALANCE_PER_RAD:g} per rad of the phases",
            "52 to 48 at 0.2 rad: foundry couplers are within a few per cent of half; the "
            "published "
            "model has one number for both",
            T + "workloads/test_mzi.py::test_couplers_of_a_device_are_off_in_the_stated_ratio",
        ),
        Choice(
            "Couplers alone",
            f"imbalance {levels(mzi.IMBALANCES)}; counted {levels(mzi.IMBALANCES_COUNTED)} "
            f"(mzi-digits {levels(mzi.IMBALANCES_COUNTED_DIGITS)})",
            "an axis of its own; phases alone are shown without weight, since the same phases "
            "are in "
            "the devices",
            T + "platforms/test_mzi.py::"
            "test_phases_and_couplers_alone_are_those_of_the_whole_device",
        ),
        Choice(
            "Read-out noise",
            f"{mesh.readout_noise:g} of the power of each input",
            "what a detector could see, the same for whatever the mesh does",
            T + "platforms/test_mzi.py::"
            "test_noise_is_a_share_of_the_power_of_each_input_whatever_the_mesh_does",
        ),
        Choice(
            "Insertion loss",
            f"{mesh.loss_db:g} dB for each interferometer",
            "a field of the layer; 0 since no loss was stated for the experiment. 64 columns of "
            "0.1 "
            "to 0.3 dB would be 6 to 19 dB",
            T + "platforms/test_mzi.py::test_loss_takes_light_and_leaves_the_noise",
        ),
        Choice(
            "What noise-aware training knows",
            "Gaussian errors of the phases that are controls, none of the couplers",
            "the tested law of the couplers is not told",
            T + "platforms/test_mzi.py::"
            "test_offsets_of_noise_aware_training_are_of_the_controls_alone",
        ),
        Choice(
            "Digital step",
            "0.03 in every row of the suite but those of published settings and of SGD",
            "the searched one of BP and of NAT; a step of its own for each row would be part of "
            "the "
            "comparison",
            T + "running/test_suites.py::test_one_digital_step_for_all_rows_on_meshes",
        ),
        Choice(
            "Training device of rows in situ",
            f"severity {mzi.MZIWorkload.training_severity:g} rad",
            "as published",
            T + "workloads/test_mzi.py::test_training_and_sharpness_devices_are_within_the_grid",
        ),
        Choice(
            "Length",
            tiers("mzi-mnist", "epochs") + " epochs on mzi-mnist",
            longer("mzi_mnist"),
        ),
    ]


def free_space() -> list[Choice]:
    """Products between a display and a modulator."""
    return [
        Choice(
            "Unit of all displacements",
            "root mean square over the modulator, in weights",
            "equal displacement for rotation, shifts and scale",
            T + "workloads/test_freespace.py::"
            "test_equal_displacements_move_the_weights_equally_far",
        ),
        Choice(
            "Range of the tests and of training",
            f"{freespace.TEST_RANGE:g} weights, of which training has {freespace.TRAINING_SHARE:g}",
            "no method trains on a test cell; what lies beyond is an axis of its own",
            T + "workloads/test_freespace.py::"
            "test_training_covers_half_of_the_tests_and_the_rest_is_an_axis",
        ),
        Choice(
            "Laws of training",
            "without atoms: what would lie beyond an end is folded back",
            "a clipped law stands on the outermost test cell in a quarter of its steps",
            T + "methods/test_environment.py::test_no_law_has_an_atom_nor_stands_on_a_test_level",
        ),
        Choice(
            "Levels inside",
            f"{levels(freespace.INSIDE)} count, {levels(freespace.INSIDE_SHOWN)} are shown; "
            "together "
            f"{levels(freespace.JOINT)}",
            "see the rows beside the constants in pnnbench/workloads/freespace.py",
            T + "workloads/test_freespace.py::test_the_grid_goes_both_ways_in_every_misalignment",
        ),
        Choice(
            "Levels beyond",
            f"shifts {levels(freespace.BEYOND_SHIFTS)}, rotation and scale "
            f"{levels(freespace.BEYOND_TURNS)}, together {levels(freespace.JOINT_BEYOND)}; shown "
            f"{levels(freespace.BEYOND_SHOWN)}",
            "robustness ends where training ended, or it does not",
            T + "workloads/test_freespace.py::"
            "test_training_covers_half_of_the_tests_and_the_rest_is_an_axis",
        ),
        Choice(
            "Re-assembly errors",
            f"each layer by its own, severity {levels(freespace.SEVERITIES)}; "
            f"{freespace.ASSEMBLED:g} wherever environments count",
            "set-up errors are common to all layers and are the environment; environments are "
            "met by "
            "devices, not by the ideal one",
            T + "workloads/test_freespace.py::"
            "test_test_devices_are_those_declared_and_misalign_each_layer_by_its_own",
        ),
        Choice(
            "Weight errors",
            f"{levels(freespace.WEIGHT_ERRORS)} of full modulation count, "
            f"{levels(freespace.WEIGHT_ERRORS_SHOWN)} is shown",
            "the law that NAT and SAT train for; modulators of three bits or more cost less than "
            "three points and carry no weight: `axes: [control-bits]` measures them",
            T + "workloads/test_freespace.py::"
            "test_weight_errors_are_the_noise_of_noise_aware_training_by_another_draw",
        ),
        Choice(
            "Training device of rows in situ",
            f"severity {freespace.FreeSpaceWorkload.training_severity:g}",
            "physics-aware training follows an aligned model: the cosine of device and model is at "
            "least 0.92 there, 0.21 at 0.5",
            T + "workloads/test_hardware.py::"
            "test_every_method_in_situ_gets_the_same_training_device",
        ),
        Choice(
            "Published steps",
            "12.5, 12.5 and 0.1 in units of the ranges for rotation, shift and scale",
            "50, 50 and 0.001 of the published code, divided by the squares of its ranges",
            T + "methods/test_environment.py::test_the_published_step_is_a_multiple_of_the_slope",
        ),
        Choice(
            "Share of positive slopes",
            "a figure of the record",
            "where it is near 1 the measured slope says what is known beforehand: outwards",
            T + "methods/test_environment.py::test_the_share_of_rising_slopes_is_counted_and_kept",
        ),
        Choice(
            "Length",
            tiers("freespace-mnist", "epochs") + " epochs on freespace-mnist",
            longer("freespace_mnist"),
        ),
    ]


def masks() -> list[Choice]:
    """Diffractive stacks."""
    digits, mnist = diffractive.DiffractiveDigits, diffractive.DiffractiveMNIST

    def grid(axis: str) -> str:
        def told(levels_of: Levels) -> str:
            beyond = f", beyond {levels(levels_of.beyond)}" if levels_of.beyond else ""
            return f"{levels(levels_of.inside)}{beyond}"

        return (
            f"{told(mnist.misalignments.levels[axis])} um on diffractive-mnist; "
            f"{told(digits.misalignments.levels[axis])} um on diffractive-digits"
        )

    rows = [
        Choice(
            f"Levels that count: {axis}",
            grid(axis),
            "see the rows beside the constants in pnnbench/workloads/diffractive.py",
            T + "workloads/test_diffractive.py::test_the_grid_goes_both_ways_in_every_misalignment",
        )
        for axis in mnist.misalignments.levels
    ]
    return [
        Choice(
            "Samples of a pixel when measured",
            f"{mnist.deployed_samples} x {mnist.deployed_samples} (diffractive-mnist), "
            f"{digits.deployed_samples} x {digits.deployed_samples} (diffractive-digits), as areas",
            "twice as many move the accuracy by less than a point; training has one sample for a "
            "pixel, which is a stated gap between model and hardware",
            T + "workloads/test_diffractive.py::"
            "test_twice_as_many_samples_change_the_accuracy_by_less_than_a_point",
        ),
        Choice(
            "Moved masks",
            "overlap of areas",
            "a phase mask keeps its power under any misalignment within the frame to 5 %",
            T + "workloads/test_diffractive.py::"
            "test_every_misalignment_within_the_grid_leaves_the_light_to_the_masks",
        ),
        Choice(
            "Errors of a device",
            f"each mask by itself: phases {diffractive_layer.PHASE_RAD:g} rad, rotation "
            f"{diffractive_layer.ROTATION_DEG:g} deg, shifts {diffractive_layer.SHIFT_UM:g} um, "
            "scale "
            f"{100 * diffractive_layer.LOG_SCALE:g} %; each gap {diffractive_layer.GAP_MM:g} mm",
            "the registration of one mask on the light of the other decides whether a stack works",
            T + "workloads/test_diffractive.py::test_devices_have_errors_of_every_kind",
        ),
        Choice(
            "Device severities",
            f"{levels(diffractive.SEVERITIES)} count, {levels(diffractive.SEVERITIES_SHOWN)} are "
            f"shown; wherever environments count {digits.misalignments.assembled:g} on "
            f"diffractive-digits, {mnist.misalignments.assembled:g} on diffractive-mnist",
            "see the rows beside the constants; with masks of 4 um the ideal device stands for "
            "all: those of severity 0.05 change what environments cost by 0.2 points at most, and "
            "take 20 times as long",
            T + "workloads/test_diffractive.py::test_the_grid_goes_both_ways_in_every_misalignment",
        ),
        Choice(
            "Training range",
            f"{diffractive.TRAINING_SHARE:g} of the range of the tests: "
            f"{mnist.misalignments.end:g} um on diffractive-mnist, {digits.misalignments.end:g} "
            "um on "
            "diffractive-digits",
            "no level is its end; what lies beyond is an axis of its own",
            T + "workloads/test_diffractive.py::"
            "test_training_covers_half_of_the_tests_and_no_level_is_its_end",
        ),
        *rows,
        Choice(
            "Read-out noise",
            "0.01 of a full scale that is calibrated once",
            "not of each image's brightest detector: lost light costs signal",
            T + "platforms/test_diffractive.py::"
            "test_noise_is_a_share_of_the_calibrated_full_scale_however_dark_the_image_is",
        ),
        Choice(
            "Light on the detectors, accuracy without absorbers",
            "figures of every record",
            "the stack is weakly nonlinear: the absorber stands behind its mask",
            T + "workloads/test_diffractive.py::"
            "test_light_and_accuracy_without_absorbers_are_figures",
        ),
        Choice(
            "Length",
            tiers("diffractive-mnist", "epochs") + " epochs on diffractive-mnist",
            "after one epoch the order is that of a moment",
            T + "workloads/test_diffractive.py::test_the_tiers",
        ),
        Choice(
            "Test images",
            tiers("diffractive-mnist", "test_images") + " on diffractive-mnist",
            "a sample of the set, the same for all rows: the deployed stack takes 1.3 to 2 ms for "
            "an image and a cell",
            T + "workloads/test_diffractive.py::test_the_tiers",
        ),
    ]

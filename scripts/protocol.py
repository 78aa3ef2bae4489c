"""Writes docs/protocol.md: every choice of the protocol with value, unit, reason and test.

Values are read from the code, so that the page cannot say anything else than what runs. Usage:
python scripts/protocol.py [--check]
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from pnnbench.errors import UserError
from pnnbench.evaluation import harness, points
from pnnbench.leaderboard import score
from pnnbench.methods import pruning
from pnnbench.methods.base import TrainingMethod
from pnnbench.platforms import diffractive as diffractive_layer
from pnnbench.platforms import mzi as mzi_layer
from pnnbench.platforms.diffractive import DiffractiveStack
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.mrr import MIN_DEPTH, MIN_LINEWIDTH, MRRLinear
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.platforms.rings import EXPERIMENT_GAP_HWHM, RingCalibration
from pnnbench.registry import method_class, method_parameters, registered, workload_class
from pnnbench.running import measuring, stages, watching
from pnnbench.running.search_file import PROTOCOL_BUDGET
from pnnbench.running.space import EDGE, laws_in_words
from pnnbench.running.suites import PROTOCOLS
from pnnbench.script import run_script
from pnnbench.seeds import (
    FIRST_TEST_DEVICE,
    FIRST_TRAINING_DEVICE,
    FIRST_TUNING,
    FIRST_VALIDATION_DEVICE,
    REPETITIONS,
)
from pnnbench.workloads import diffractive, freespace, mrr, mzi
from pnnbench.workloads.misaligned import Levels

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "protocol.md"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One choice of the protocol.

    Attributes:
        what: What is chosen.
        value: Its value with its unit.
        why: Source or reason.
        test: File and name of the test that holds it, ``file::name``; empty where it is a plain
            constant that is part of each job's hash.
    """

    what: str
    value: object
    why: str
    test: str = ""


def levels(values: Iterable[float]) -> str:
    """Numbers in one cell of a table."""
    return ", ".join(f"{value:g}" for value in values)


RING = RingCalibration()
T = "tests/"


def tiers(name: str, field: str) -> str:
    """A field of a workload's tiers, in one cell of a table."""
    found = {tier: getattr(value, field) for tier, value in workload_class(name).tiers.items()}
    return "; ".join(f"{tier} {'all' if value is None else value}" for tier, value in found.items())


def whole() -> list[Choice]:
    """What holds on every platform."""
    return [
        Choice(
            "Protocol and revision",
            ", ".join(f"{name} revision {number}" for name, number in PROTOCOLS.items()),
            "whatever changes a number raises the revision, and all jobs run again; boards of "
            "different revisions are never joined",
            T + "running/test_suites.py::test_hash_changes_with_whatever_decides_the_result",
        ),
        Choice(
            "Robust score",
            "mean over axes of the mean over their counted cells",
            "axes weigh equally, however many cells they have; one function for board and search",
            T + "leaderboard/test_score.py::"
            "test_the_score_is_the_mean_over_axes_of_the_mean_over_their_counted_cells",
        ),
        Choice(
            "Cells that count",
            "levels at which the mean of BP and NAT lies between 20 and 90 %",
            "others tell no rows apart; chosen on held-out training images and validation devices "
            "with benchmarks/reference_rows.py, the measured rows stand beside the levels",
            T + "running/test_trials.py::test_search_and_board_give_one_record_one_score",
        ),
        Choice(
            "Worst tenth",
            f"mean of the worst {score.WORST_FRACTION:.0%} of the devices, each over all its "
            "counted cells",
            "never better than the mean",
            T + "leaderboard/test_score.py::test_the_worst_tenth_is_never_better_than_the_mean",
        ),
        Choice(
            "Repetitions",
            f"seeds 0 to {FIRST_TUNING - 1:,}; from there to {REPETITIONS - 1:,} those of searches",
            "a seed names initial parameters, data order and the method's draws; no suite has a "
            "seed in which settings were searched",
            T + "test_seeds.py::test_the_ranges_do_not_meet",
        ),
        Choice(
            "Training devices",
            f"seeds from {FIRST_TRAINING_DEVICE:,}, one for each repetition; where a suite names "
            "`training_devices`, rows in situ train on each of them at every seed, and their value "
            "at a seed is the mean",
            "an axis of its own: the luck of a device is not that of the initial parameters",
            T + "leaderboard/test_training_devices.py::"
            "test_the_value_at_a_seed_is_the_mean_over_its_training_devices",
        ),
        Choice(
            "Validation devices",
            f"seeds from {FIRST_VALIDATION_DEVICE:,}",
            "choose levels and settings, and carry the sharpness figure `device_increase`",
            T + "test_seeds.py::test_the_ranges_do_not_meet",
        ),
        Choice(
            "Test devices",
            f"seeds from {FIRST_TEST_DEVICE:,}, the same for every row",
            "no method meets one",
            T + "workloads/test_hardware.py::test_a_method_never_meets_a_test_device",
        ),
        Choice(
            "Held-out training images",
            "mrr-mnist: "
            + tiers("mrr-mnist", "validation_images")
            + "; mrr-digits: "
            + tiers("mrr-digits", "validation_images"),
            "for the validation curve, the scale of the outputs and the choice of settings; no row "
            "trains on them",
            T + "running/test_jobs.py::test_no_job_trains_on_held_out_images",
        ),
        Choice(
            "Validation curve",
            f"loss and metric after each epoch on at most {watching.CURVE_IMAGES} held-out images",
            "training is the same to the bit with and without it",
            T + "running/test_watching.py::"
            "test_training_is_the_same_to_the_bit_with_and_without_it",
        ),
        Choice(
            "Stages before the end",
            f"after {levels(watching.SHARES)} of the steps, one seed in {stages.EVERY}, at most "
            "four "
            "levels of an axis on two devices",
            "a reader sees whether the order stands; the learning rate is still on its way down, "
            "so "
            "that a stage is no shorter run",
            T + "running/test_watching.py::"
            "test_the_tensors_are_those_after_a_quarter_and_half_of_the_steps",
        ),
        Choice(
            "Optimiser",
            "Adam for all rows, cosine decay to zero; SGD rows are named so",
            "the published comparison mixes method and optimiser",
            T + "methods/test_exactness.py::test_trainer_equals_hand_written_loop_in_float64",
        ),
        Choice(
            "Equal gradients",
            "a method with two gradients a step has a row at equal steps, and its baseline a row "
            "at equal gradients",
            "what a gradient costs is part of a method",
            T + "running/test_suites.py::test_shipped_suites_load",
        ),
        Choice(
            "Batch-norm statistics",
            "those of one pass of the final parameters over the calibration images, on the ideal "
            "device; rows in situ: measured on their own device, queries counted",
            "published tests ran with batch statistics, which changes conclusions more than the "
            "method does (reference: microrings, headline 2)",
            T + "workloads/test_calibration.py::test_statistics_are_those_of_one_pass_over_all",
        ),
        Choice(
            "Shot noise",
            f"one stream for each device, layer and block of {harness.NOISE_BLOCK} images, the "
            "same "
            "in every cell of a device",
            "differences between conditions are due to the conditions",
            T + "evaluation/test_harness.py::test_conditions_of_one_device_share_its_shot_noise",
        ),
        Choice(
            "Read-out noise alone",
            "a cell of its own (axis `shot`), without weight",
            "tells the detectors' noise from the devices' errors",
            T + "evaluation/test_harness.py::test_read_out_noise_alone_is_a_cell_of_a_job",
        ),
        Choice(
            "Right or wrong",
            "one bit for each image and cell, in `outcomes.safetensors`",
            "resampling over images, paired tests and classes can be asked for later",
            T + "evaluation/test_harness.py::test_each_reading_says_which_images_are_right",
        ),
    ]


def search() -> list[Choice]:
    """How settings are searched."""
    tests, budget = T + "running/test_tuning.py::", PROTOCOL_BUDGET
    return [
        Choice(
            "Space",
            "the law of each hyper-parameter, on the class of the method (table below)",
            "multiples of the workload's scale, so that one space serves all platforms; methods "
            "with one optimiser share the law of the step; optimiser and placement are rows",
            T + "methods/test_laws.py::test_methods_with_one_optimiser_share_the_law_of_the_step",
        ),
        Choice(
            "Step of the digital parameters",
            "searched where a suite names it, else the same for all rows",
            "a step of its own for each row would be part of the comparison",
            T + "running/test_entries.py::"
            "test_what_is_fixed_is_not_searched_and_the_digital_step_only_where_it_is_named",
        ),
        Choice(
            "Points",
            f"{budget.trials} scrambled Sobol points, the first replaced by the defaults",
            "seeded by protocol, method and names; written, with a hash, before the first trial",
            tests + "test_spaces_and_points_stand_in_the_file_before_the_first_trial",
        ),
        Choice(
            "Budget",
            f"one seed each, another for each trial, at the suite's own length; the best "
            f"{budget.finalists} with {budget.more_seeds} more seeds, the same for all",
            "in simulation on earlier searches this halves the loss of one seed alone",
            tests + "test_every_point_once_then_the_best_with_the_same_seeds",
        ),
        Choice(
            "Images and devices of the choice",
            f"the tier's held-out training images, {budget.devices} validation devices, the "
            "conditions that count in the headline",
            "none of them trains or tests",
            T + "running/test_trials.py::"
            "test_images_and_devices_of_training_choice_and_test_do_not_meet",
        ),
        Choice(
            "Choice",
            "the highest mean robust score over the seeds; of methods in situ, the metric on their "
            "own device; of equal ones the earlier point",
            "methods made for one device are not made for the others; both choices are recorded",
            tests + "test_methods_made_for_one_device_are_chosen_by_their_own",
        ),
        Choice(
            "Failed and diverged trials",
            "count as guessing",
            "a setting that fails is no good setting",
            tests + "test_a_failed_trial_counts_as_guessing_and_a_row_of_failures_is_not_chosen",
        ),
        Choice(
            "Edges",
            f"a winner within {EDGE:.0%} of an end, on the law's scale: the range is doubled "
            f"there on that scale, and {budget.beyond} more points lie in its new half, once",
            "what is not on the edge keeps the winner's value; still on the edge, the board says "
            "so; a limit such as 0 is no edge",
            tests + "test_a_winner_on_the_edge_is_looked_for_beyond_it_once",
        ),
        Choice(
            "Test score of trials",
            f"at most {budget.test_images:,} test images, the tier's test devices; for the curve",
            "no choice reads it",
            tests + "test_changed_test_figures_change_no_choice",
        ),
    ]


def laws() -> list[tuple[str, str, str]]:
    """Registered method, its laws in words, and the rule by which its settings are chosen."""
    rows = []
    for name in registered("methods"):
        cls = method_class(name)
        words = laws_in_words(cls, method_parameters(cls, {}))
        told = ", ".join(f"{key} {law}" for key, law in words.items())
        rows.append((name, told, cls.chosen_by))
    return rows


def knowledge() -> list[tuple[str, str, str]]:
    """Registered method, access, and what it is told of the tests."""
    rows = []
    for name, point in registered("methods").items():
        cls = point.load()
        if isinstance(cls, type) and issubclass(cls, TrainingMethod):
            rows.append((name, cls.access, ", ".join(cls.told()) or "nothing"))
    return rows


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
    ]


def masks() -> list[Choice]:
    """Diffractive stacks."""
    digits, mnist = diffractive.DiffractiveDigits, diffractive.DiffractiveMNIST

    def grid(axis: str) -> str:
        def told(levels_of: Levels) -> str:
            return f"{levels(levels_of.inside)}, beyond {levels(levels_of.beyond)}"

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
            f"shown; {diffractive.ASSEMBLED:g} wherever environments count",
            "see the rows beside the constants",
            T + "workloads/test_misaligned.py::"
            "test_what_counts_is_met_by_devices_and_what_is_shown_by_the_ideal_one",
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
    ]


def sharpness_figures() -> list[Choice]:
    """Sharpness."""
    kinds = (MRRLinear, MZIMesh, FreeSpaceLayer, DiffractiveStack)
    radii = "; ".join(f"{cls.__name__} {cls.ball_radius:g} {cls.control_unit}" for cls in kinds)
    commons = "; ".join(
        f"{cls.__name__} {', '.join(cls.common_controls) or 'none'}" for cls in kinds
    )
    P = T + "evaluation/test_sharpness_platforms.py::"
    return [
        Choice(
            "Where it holds",
            "the digital model that was trained; for rows in situ their training device",
            "only there can the controls be at a minimum",
            P + "test_on_a_training_device_the_figures_are_those_of_that_device",
        ),
        Choice(
            "Minimum",
            "gain of a safe step, the gradient's squared norm over 2 lambda_max, at most "
            f"{points.MINIMUM_GAIN:g} of the loss of guessing, and no larger negative curvature",
            "free of the scales of controls and loss; what is none, or not known to be one, enters "
            "no correlation",
            T + "evaluation/test_sharpness.py::test_the_rule_for_minima_is_free_of_units",
        ),
        Choice(
            "Scale of the outputs",
            "fitted on held-out images; a typed gap at the ends of its range",
            "on separable training images there is no best scale",
            T + "evaluation/test_sharpness.py::"
            "test_without_held_out_images_or_at_a_bound_nothing_is_calibrated",
        ),
        Choice(
            "Ball",
            radii,
            "curvature decides, not what is left of a slope, and the loss stays under guessing",
            P + "test_in_the_ball_the_curvature_decides_and_the_loss_stays_under_guessing",
        ),
        Choice(
            "Common mode",
            commons,
            "only where an equal shift is no gauge",
            P + "test_common_mode_is_there_only_where_it_is_no_gauge",
        ),
        Choice(
            "Devices of device_increase",
            f"{measuring.SHARPNESS_DEVICES} validation devices, 95 % interval over them",
            "never those of the score that it is held against",
            T + "evaluation/test_sharpness.py::test_every_figure_against_its_definition",
        ),
        Choice(
            "Error bound of lambda_max",
            "holds in single precision",
            "against a copy in double precision on every platform",
            P + "test_error_bounds_hold_against_float64",
        ),
        Choice(
            "PyHessian",
            f"one seed in {measuring.CHECK_EVERY}; more than {points.PYHESSIAN_TOLERANCE:.0%} "
            "apart is a typed gap",
            "a check, not a second figure",
            T + "evaluation/test_sharpness.py::"
            "test_a_disagreement_with_pyhessian_is_a_gap_with_both_numbers",
        ),
    ]


SECTIONS = (
    ("All platforms", whole),
    ("Microrings", microrings),
    ("Meshes", meshes),
    ("Free space", free_space),
    ("Diffraction", masks),
    ("Search of settings", search),
    ("Sharpness", sharpness_figures),
)


def page() -> str:
    """The whole page."""
    parts = [
        "# The protocol",
        "Every choice of the protocol with its value, its source or reason, and the test that "
        "holds "
        "it. Written by `python scripts/protocol.py` from the code; a test compares. What a choice "
        "was measured with stands beside the constant in the named module.",
    ]
    for title, choices in SECTIONS:
        rows = [
            f"| {c.what} | {c.value} | {c.why} | {_link(c.test)} |".replace("\n", " ")
            for c in choices()
        ]
        parts += [
            f"## {title}",
            "\n".join(("| Choice | Value | Why | Test |", "| - | - | - | - |", *rows)),
        ]
    told = [f"| {name} | {access} | {knows} |" for name, access, knows in knowledge()]
    parts += [
        "## Who knows what",
        "What a method is told besides training data and digital model, computed from its class. "
        'Boards are read without the rows that know the tested law by `--without "tested law"`.',
        "\n".join(("| Method | Access | Told |", "| - | - | - |", *told)),
        "## Laws of hyper-parameters",
        "Where `pnnbench tune` searches, in multiples of the workload's scale, for Adam; see "
        "[tuning](tuning.md).",
        "\n".join(
            (
                "| Method | Searched | Chosen by |",
                "| - | - | - |",
                *(f"| {name} | {words} | {rule} |" for name, words, rule in laws()),
            )
        ),
        "## What the models leave out",
        _left_out(),
    ]
    return "\n\n".join(parts) + "\n"


def _link(test: str) -> str:
    if not test:
        return "part of each job's hash"
    file, _, name = test.partition("::")
    return f"[{name}](../{file})"


def _left_out() -> str:
    """The list of the mesh's docstring, and what the other platforms' docstrings say."""
    text = mzi_layer.__doc__ or ""
    found = text.partition("What the model leaves out:\n")[2].partition("\nSources:")[0]
    if not found:
        raise UserError("the docstring of pnnbench.platforms.mzi has no list of what is left out")
    return "Meshes:\n\n" + found


def tests_named(text: str) -> list[tuple[str, str]]:
    """File and name of each test that the page names."""
    return [(file, name) for name, file in re.findall(r"\[(test_\w+)\]\(\.\./([\w/.]+)\)", text)]


def main() -> int:
    """Writes the page, or says whether it is what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    text = page()
    if args.check:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        raise UserError(
            f"{PAGE.name} is not what the code says", next_step="python scripts/protocol.py"
        )
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    run_script(main)

"""Choices for all platforms: rows, search, sharpness; read by scripts/protocol.py."""

from __future__ import annotations

from choice import Choice, T, levels, tiers

from pnnbench.evaluation import harness, points
from pnnbench.leaderboard import score
from pnnbench.methods.base import TrainingMethod
from pnnbench.platforms.diffractive import DiffractiveStack
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.mrr import MRRLinear
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.registry import method_class, method_parameters, registered
from pnnbench.running import measuring, stages, watching
from pnnbench.running.job_specs import PROTOCOLS
from pnnbench.running.search_file import PROTOCOL_BUDGET
from pnnbench.running.space import EDGE, laws_in_words
from pnnbench.seeds import (
    FIRST_TEST_DEVICE,
    FIRST_TRAINING_DEVICE,
    FIRST_TUNING,
    FIRST_VALIDATION_DEVICE,
    REPETITIONS,
)


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
            "Where they hold",
            "`lambda_max`, the largest eigenvalue of the loss's Hessian by the physical controls, "
            "in loss per squared unit of them, and all that follows: on the digital model that was "
            "trained; for rows in situ their training device",
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
            "Scale of the outputs: `softmax_scale`",
            "the factor on the outputs at which the loss on held-out images is least; "
            "`lambda_max_calibrated` is taken there; a typed gap at the ends of its range",
            "on separable training images there is no best scale",
            T + "evaluation/test_sharpness.py::"
            "test_without_held_out_images_or_at_a_bound_nothing_is_calibrated",
        ),
        Choice(
            "Ball: `ball_increase`",
            "the worst increase of the training loss by a step of that norm over all controls: "
            f"{radii}",
            "curvature decides, not what is left of a slope, and the loss stays under guessing",
            P + "test_in_the_ball_the_curvature_decides_and_the_loss_stays_under_guessing",
        ),
        Choice(
            "Common mode: `common_mode`",
            f"curvature of the loss when these controls shift together: {commons}",
            "only where an equal shift is no gauge",
            P + "test_common_mode_is_there_only_where_it_is_no_gauge",
        ),
        Choice(
            "Devices: `device_increase`",
            f"mean increase of the training loss on {measuring.SHARPNESS_DEVICES} validation "
            "devices, 95 % interval over them",
            "never those of the score that it is held against; the law of their errors is the "
            "tests' own, so that it nearly measures the score",
            T + "evaluation/test_sharpness.py::test_every_figure_against_its_definition",
        ),
        Choice(
            "Correlation with the score",
            "between the means of rows, and within rows when their means are taken off, with a "
            "jackknife over seeds; over all jobs without an interval",
            "rows differ in method, step and length, which may move both; jobs of one row are "
            "alike, and rows share their seeds",
            T + "leaderboard/test_sharpness.py::"
            "test_intervals_cover_also_where_rows_share_their_seeds",
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

"""Choices of classification, compression and generation; read by scripts/protocol.py."""

from __future__ import annotations

from choice import Choice, T, levels, tiers

from pnnbench.metrics import fidelity
from pnnbench.metrics.extractors import extractor_class
from pnnbench.workloads import mrr_cifar10, mrr_images
from pnnbench.workloads.imaging import Generation
from pnnbench.workloads.mrr_images import ImagesOnRings

_NETWORKS = (
    mrr_cifar10.MRRCIFAR10Narrow,
    mrr_cifar10.MRRCIFAR10Autoencoder,
    mrr_cifar10.MRRCIFAR10GANNarrow,
)


def _counted(cls: type[ImagesOnRings]) -> str:
    """The levels that count, as trained and calibrated."""
    told = []
    for kind, counted in (("", cls.counted_frozen), ("calibrated ", cls.counted_calibrated)):
        axes = [f"{axis} {levels(values)}" for axis, values in counted.items()]
        told.append(kind + ", ".join(axes))
    return f"{cls.name} {'; '.join(told)}"


def images() -> list[Choice]:
    """What the networks for images have of their own; else as on microrings."""
    rings = T + "workloads/test_mrr_cifar10.py::"
    grid = rings + "test_published_temperatures_are_measured_and_levels_that_tell_rows_apart_count"
    small = T + "workloads/test_mrr_images.py::"
    tasks = T + "workloads/test_imaging.py::"
    augmentation = mrr_cifar10.MRRCIFAR10.augmentation
    crop = augmentation.crop_padding if augmentation else 0
    return [
        Choice(
            "Sorted by",
            "accuracy; MSE over pixels in [0, 1]; FID",
            "the published figures of the three tasks; of an error less is better, and its value "
            "of guessing is that of one image for all, the mean of the training images",
            tasks + "test_guessing_is_one_image_for_all",
        ),
        Choice(
            "Read-out noise on CIFAR-10",
            f"{mrr_cifar10.NOISELESS.readout_noise:g}",
            "none in the published tasks; with that of calibration B every row of a network this "
            "deep guesses, on any device",
            grid,
        ),
        Choice(
            "Device severities",
            f"{levels(mrr_cifar10.MRRCIFAR10.severities)} x fabrication spread on CIFAR-10, "
            f"{levels(mrr_images.SEVERITIES)} on digits",
            "deep networks are at guessing at the severities of the others",
            small + "test_the_grid_is_the_published_sweep_and_the_devices",
        ),
        Choice(
            "Temperature",
            f"{levels(mrr_cifar10.TEMPERATURES_DEGC)} degC off 22 degC on the ideal device on "
            f"CIFAR-10; {levels(mrr_images.STEPS_DEGC)} degC at severity "
            f"{mrr_images.TEMPERATURE_SEVERITY:g} on digits",
            "the published sweep, and two finer steps on each side",
            grid,
        ),
        Choice(
            "Counted on CIFAR-10",
            "; ".join(_counted(cls) for cls in _NETWORKS),
            "accuracy as everywhere; of an error the levels at which 10 to 90 % are left of what "
            "the clean networks have over guessing, and the largest severity where no device would "
            "count; see the rows beside the constants in pnnbench/workloads/mrr_cifar10.py",
            grid,
        ),
        Choice(
            "Width",
            f"{mrr_cifar10.MRRCIFAR10.width} channels in the first stage of ResNet-18 "
            f"(mrr-cifar10), {mrr_cifar10.MRRCIFAR10Narrow.width} (mrr-cifar10-w16); before the "
            f"generator's last convolution {mrr_cifar10.MRRCIFAR10GAN.width} and "
            f"{mrr_cifar10.MRRCIFAR10GANNarrow.width} (mrr-cifar10-gan-w16)",
            "another width is another network with a board of its own",
            rings + "test_a_quarter_of_the_width_has_a_sixteenth_of_the_rings",
        ),
        Choice(
            "Augmentation of CIFAR-10",
            f"windows of an image padded by {crop} pixels, every other one flipped; classification "
            "alone",
            "the usual one of residual networks; from seed, epoch and image",
            T + "data/test_augmentation.py::"
            "test_a_resumed_run_sees_the_images_of_an_uninterrupted_one",
        ),
        Choice(
            "Training device and devices of device_increase on CIFAR-10",
            f"severity {mrr_cifar10.MRRCIFAR10.training_severity:g} and "
            f"{mrr_cifar10.MRRCIFAR10.sharpness_severity:g} x fabrication spread",
            "not far above these networks are at guessing as trained",
            T + "workloads/test_hardware.py::"
            "test_every_method_in_situ_gets_the_same_training_device",
        ),
        Choice(
            "Training range of the temperature",
            f"{ImagesOnRings.environment_ranges['temperature_degc']:g} degC, "
            f"{mrr_cifar10.MRRCIFAR10.environment_ranges['temperature_degc']:g} degC on CIFAR-10",
            "within what is tested, on no level of it",
            T + "methods/test_environment.py::test_no_law_has_an_atom_nor_stands_on_a_test_level",
        ),
        Choice(
            "Unit of radii on CIFAR-10",
            "the norm of all weights as they are drawn, as currents",
            "a radius that grows with the number of rings leaves a network this deep at guessing",
            rings + "test_radii_are_stated_in_the_norm_of_the_weights_as_drawn",
        ),
        Choice(
            "Search",
            "tier search on four validation devices where a suite says so: "
            + tiers("mrr-cifar10-w16", "train_images")
            + " training images; "
            + tiers("mrr-cifar10-w16", "epochs")
            + " epochs (classification)",
            "at the length of the suite a search takes days; the board says so",
            T + "running/test_search_plan.py::test_trials_run_at_the_tier_of_the_search",
        ),
        Choice(
            "Test images",
            tiers("mrr-cifar10-w16", "test_images")
            + " (mrr-cifar10-w16); "
            + tiers("mrr-cifar10-gan-w16", "test_images")
            + " (mrr-cifar10-gan-w16)",
            "the first of the set, which are a draw of it",
        ),
        Choice(
            "Discriminator",
            f"one step for each batch of the method, hinge loss, Adam at {Generation.judge_step:g} "
            f"({mrr_images.MRRDigitsGAN.judge_step:g} on digits), beta 0 and 0.9",
            "part of the workload; a row at equal gradients has twice its steps too",
            tasks + "test_the_judge_takes_one_step_for_each_batch",
        ),
        Choice(
            "FID",
            "the limit for infinitely many images, 2 F(N) - F(N / 2)",
            f"the bias of N images is larger than most differences; at least 2 (features + 1) "
            f"images, {2 * (extractor_class('efficientnet-lite0').size + 1):,} with "
            "efficientnet-lite0",
            T + "metrics/test_fidelity.py::"
            "test_halves_of_one_set_are_near_zero_whatever_their_size",
        ),
        Choice(
            "KID",
            f"unbiased; above {fidelity.KID_SUBSET:,} images the mean of "
            f"{fidelity.KID_SUBSETS} subsets",
            "one number whatever the number of images",
            T + "metrics/test_fidelity.py::test_kernel_distance_is_its_sum_over_pairs",
        ),
        Choice(
            "Extractor",
            ", ".join(
                extractor_class(name).full_name() for name in ("digits", "efficientnet-lite0")
            ),
            "part of the metric's name: other weights are another metric",
            T + "metrics/test_extractors.py::test_names_carry_network_size_side_and_hash",
        ),
    ]

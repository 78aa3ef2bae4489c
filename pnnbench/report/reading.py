"""How a board is read: what its columns are, once for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.model import Table
from pnnbench.report.text import render_markdown
from pnnbench.report.visible import visible


def entries(tables: Sequence[Table]) -> list[tuple[str, str]]:
    """Says what the columns of some tables are.

    Args:
        tables: The tables of a board; what none of them has is not explained.

    Returns:
        Term and sentences, in the order of the columns.
    """
    first = any(table.key["revision"] == "1" for table in tables)
    told = [
        (
            "Robust",
            "Mean of the metric over the conditions that the workload counts: axes weigh equally, "
            "and the conditions in each"
            + (" (of revision 1, all conditions equally)" if first else "")
            + ". Seeds that failed count as guessing. The interval spans training seeds and test "
            "devices.",
        ),
        (
            "vs baseline",
            "Paired difference of the robust score to the baseline, on the same seeds and devices. "
            "The interval beside it holds for all complete rows at once; “alone”, or under “each "
            "row by itself”, is that of the row alone. These are differences to one row: ranks "
            "compare every row with every other, which asks for more evidence, so that a "
            "difference that is told can stand beside a rank that is shared.",
        ),
        (
            "Beats",
            "Share of fresh seeds and devices, the same for both rows, at which the row is better "
            "than the baseline.",
        ),
        (
            "Rank",
            "The places that the data leave open, all ranges of the table together at 95 % "
            "confidence: 2–5 means that one row at least is told to be better, and so many to be "
            "worse that no place after the fifth is left. Rows stand by score, so that one can "
            "stand above another from which it is not told apart.",
        ),
        (
            "Worst tenth",
            "Per training seed, each test device’s robust score over all conditions that count, "
            "and of these the mean over the worst tenth of the devices, rounded down, one device "
            "at least. A condition met by the ideal device is in the score of every device with "
            "the same value"
            + (
                "; boards of revision 1 leave such conditions out, so that there the figure can "
                "lie above the robust score"
                if first
                else ""
            )
            + ". The interval spans training seeds.",
        ),
        (
            "Knows",
            "What the method is told of the tests before it trains, from its class: nothing, a "
            "Gaussian on the controls, the tested law of the environments, or one device to "
            "measure on, with its hardware queries. A dash where the records do not say.",
        ),
    ]
    if any(len(table.deployments) > 1 or table.key["deployment"] != FROZEN for table in tables):
        told.append(
            (
                "Deployment",
                "Frozen: the network as trained, on every device with the statistics of the ideal "
                "one. Any other: a step on each test device before the tests, with its queries "
                "counted; offset-calibrated: from a few images every read-out gets its offsets and "
                "every batch norm its statistics. Every row is in each table; the headline is the "
                "deployment whose score the protocol names as the robust one. Scores of two "
                "deployments answer two questions and are not held against each other.",
            )
        )
    told += [
        (
            "Clean",
            "The metric on the ideal device, after training, without picking an epoch. The "
            "interval spans training seeds.",
        ),
        (
            "λmax",
            "Largest eigenvalue of the Hessian of the task loss with respect to the physical "
            "controls only, on the ideal device; of methods that train on a device, on that "
            "device. Geometric mean; the interval spans training seeds on the logarithmic scale. "
            "It depends on the scale of the loss and on the unit of the controls, so that it "
            "compares rows of one workload only, and other figures stand beside it in the "
            "correlations.",
        ),
    ]
    if any(table.training is not None for table in tables):
        told += [
            (
                "Training device",
                "The metric on the device that in-situ methods train on, another at each seed, "
                "with the same test set as the grid. It is measured for every method, in silico "
                "too. The interval spans training seeds, and with them the devices.",
            ),
            (
                "Fresh devices",
                "The metric on the test devices of the same severity, which no method met in "
                "training. The interval spans training seeds and test devices.",
            ),
            (
                "Transfer",
                "Fresh devices minus training device, paired by seed. A method that fits its one "
                "device loses here.",
            ),
        ]
    if any(table.reference is not None for table in tables):
        told.append(
            (
                "Time / …",
                "Training time relative to that of the named row, CPU time where it ran on a CPU, "
                "paired by seed. Geometric mean; the interval spans training seeds on the "
                "logarithmic scale.",
            )
        )
    told += [
        (
            "Gradients",
            "Gradient evaluations of one training run. A method that needs two per step should be "
            "compared with a baseline of equal gradients.",
        ),
        (
            "Queries",
            "Measurements asked of a device during training. Zero for methods that use the digital "
            "model only.",
        ),
        (
            "Intervals",
            "All are 95 % intervals, each of its row alone unless it is said to hold for all rows "
            "at once. Over seeds and devices, both at random: the mean squares of each with "
            "Student’s quantile of its own degrees of freedom (after Banerjee). Over seeds alone: "
            "Student’s t. Where a condition is met by the ideal device alone there are no devices "
            "to span. The rules and what they were measured to do: docs/statistics.md of the "
            "project. Intervals of an accuracy are cut to 0 to 100 % for display.",
        ),
        (
            "Protocol",
            "pnnbench-2, and pnnbench-1 before it, gives every method the same parameterisation, "
            "optimiser family and search budget, the same epochs but for rows that are given more "
            "or fewer by their factor, the same initial controls and data order at a given seed, "
            "frozen batch-norm statistics from training data, the same test images, and the same "
            "fresh test devices, none of which was the training device. Rows that were not "
            "searched, or whose search was another one, are named. published repeats what authors "
            "did, to prove that the physics is theirs; it is not ranked, and no table mixes the "
            "two.",
        ),
    ]
    return told


def board_page(tables: Sequence[Table]) -> str:
    """The Markdown page of a published board's folder: where the rest is, tables, how to read them.

    Args:
        tables: What ``ranking.build`` made.

    Returns:
        The text.
    """
    suites = ", ".join(dict.fromkeys(table.key["suite"] for table in tables)) or "No records"
    lines = [
        f"# {visible(suites)}",
        "",
        "The page with pictures and all conditions: [index.html](index.html), of which this is a "
        "part; the figures as JSON: [leaderboard.json](leaderboard.json). What each column is "
        "stands [below](#how-to-read-it).",
        "",
        render_markdown(tables),
        "## How to read it",
        "",
        *(f"- **{term}**: {words}" for term, words in entries(tables)),
    ]
    return "\n".join(lines) + "\n"

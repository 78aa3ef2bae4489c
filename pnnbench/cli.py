"""The ``pnnbench`` command: parses, then imports what the subcommand needs and nothing more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from pnnbench import __version__
from pnnbench.errors import DiskFullError, UserError, disk_full

Format = Literal["table", "json", "markdown", "html"]
Wandb = Literal["offline", "online", "disabled"]

_RUNS = "Folder of the run folders."
_DATA = "Data folder; default: PNNBENCH_DATA, else ~/.cache/pnnbench/data."


def _subcommand(subcommands: Any, name: str, text: str) -> ArgumentParser:
    parser = ArgumentParser(description=text)
    subcommands.add_subcommand(name, parser, help=text)
    return parser


def _add_run(subcommands: Any) -> None:
    parser = _subcommand(subcommands, "run", "Run a suite and print its leaderboard.")
    parser.add_argument("suite", type=str, help="Suite file, or the name of one that ships.")
    parser.add_argument("--runs", type=str, default="runs", help=_RUNS)
    parser.add_argument("--data", type=str | None, default=None, help=_DATA)
    parser.add_argument("--threads", type=int | None, default=None, help="Threads of torch.")
    parser.add_argument("--pictures", type=bool, default=True, help="Draw pictures of each run.")
    parser.add_argument(
        "--wandb",
        type=Wandb | None,
        default=None,
        help="Mirror to Weights & Biases; default: WANDB_MODE, else offline.",
    )


def _add_train(subcommands: Any) -> None:
    parser = _subcommand(subcommands, "train", "Train and measure one method on one workload.")
    parser.add_argument("workload", type=str, help="Registered name or class path.")
    parser.add_argument("method", type=str, help="Registered name or class path.")
    parser.add_argument("--params", type=dict[str, Any], default={}, help="Hyper-parameters.")
    parser.add_argument("--tier", type=str, default="quick", help="smoke, quick, standard, paper.")
    parser.add_argument("--seed", type=int, default=0, help="Repetition.")
    parser.add_argument("--epochs_factor", type=float, default=1.0, help="Multiple of the epochs.")
    parser.add_argument("--runs", type=str, default="runs", help=_RUNS)
    parser.add_argument("--data", type=str | None, default=None, help=_DATA)
    parser.add_argument("--threads", type=int | None, default=None, help="Threads of torch.")
    parser.add_argument("--pictures", type=bool, default=True, help="Draw pictures of the run.")
    parser.add_argument(
        "--wandb",
        type=Wandb | None,
        default=None,
        help="Mirror to Weights & Biases; default: WANDB_MODE, else offline.",
    )


def _add_on_run(subcommands: Any) -> None:
    for name, text in (
        ("evaluate", "Measure a finished run's grid again and compare with its record."),
        ("sharpness", "Measure a finished run's sharpness again."),
        ("plot", "Draw the pictures of a finished run, or of a suite's folder."),
    ):
        parser = _subcommand(subcommands, name, text)
        parser.add_argument("run", type=str, help="Run folder: runs/SUITE/HASH.")
        parser.add_argument("--data", type=str | None, default=None, help=_DATA)
        if name != "plot":
            parser.add_argument(
                "--format", type=Literal["table", "json"], default="table", help="Output."
            )


def _add_leaderboard(subcommands: Any) -> None:
    parser = _subcommand(subcommands, "leaderboard", "Rank methods from records.")
    parser.add_argument(
        "records",
        type=str,
        nargs="*",
        default=[],
        help="Folders with records; default: runs/, else the committed leaderboards/.",
    )
    parser.add_argument("--format", type=Format, default="table", help="Output.")
    parser.add_argument(
        "--publish",
        type=str | None,
        default=None,
        help="Folder for records, page and pictures, such as leaderboards/SUITE.",
    )
    parser.add_argument(
        "--wandb",
        type=Wandb | None,
        default=None,
        help="Also log the leaderboard to Weights & Biases in this mode.",
    )


def _add_rest(subcommands: Any) -> None:
    parser = _subcommand(subcommands, "reproduce", "Check the published tables of a platform.")
    parser.add_argument("platform", type=str, help="Registered name, such as mrr or mzi.")
    parser.add_argument(
        "--checkpoints", type=str, required=True, help="Folder of .npz files, or one of them."
    )
    parser.add_argument(
        "--format", type=Literal["table", "json", "markdown"], default="table", help="Output."
    )
    parser.add_argument("--data", type=str | None, default=None, help=_DATA)
    parser = _subcommand(subcommands, "list", "List what is registered.")
    parser.add_argument(
        "kind", type=Literal["methods", "platforms", "workloads", "suites"], help="Of what."
    )
    parser = _subcommand(subcommands, "check", "Check that a training method behaves.")
    parser.add_argument("method", type=str, help="Class path or registered name.")
    parser.add_argument("--params", type=dict[str, Any], default={}, help="Hyper-parameters.")
    parser.add_argument(
        "--workload",
        type=str | None,
        default=None,
        help="Workload on the digits; default: the first that the method supports.",
    )
    parser = _subcommand(subcommands, "submit", "Pack a finished run as a submission.")
    parser.add_argument("run", type=str, help="Run folder: runs/SUITE/HASH.")
    parser.add_argument("--out", type=str, default="submissions", help="Where it goes.")
    parser = _subcommand(subcommands, "verify", "Re-evaluate a submission from its tensors alone.")
    parser.add_argument("submission", type=str, help="Submission folder.")
    parser.add_argument("--data", type=str | None, default=None, help=_DATA)
    parser = _subcommand(subcommands, "doctor", "Find incomplete, corrupt or failed runs.")
    parser.add_argument("runs", type=str, help=_RUNS)
    parser = _subcommand(subcommands, "data", "Check a data set, or download it.")
    parser.add_argument("name", type=Literal["digits", "mnist"], help="Data set.")
    parser.add_argument("--download", action="store_true", help="Download what is missing.")
    parser.add_argument("--root", type=str | None, default=None, help=_DATA)


def build_parser() -> ArgumentParser:
    """Builds the parser of the whole command line."""
    parser = ArgumentParser(
        prog="pnnbench",
        description="Benchmarks training methods of physical neural networks.",
        version=__version__,
    )
    subcommands = parser.add_subcommands(dest="command", required=True)
    _add_run(subcommands)
    _add_train(subcommands)
    _add_on_run(subcommands)
    _add_leaderboard(subcommands)
    _add_rest(subcommands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        Exit status: 0 done, 1 done but something failed or differs, 2 a mistake in what was given.
    """
    options: Namespace = build_parser().parse_args(argv)
    command = str(options.command)
    try:
        from pnnbench.commands import COMMANDS

        return COMMANDS[command](options[command])
    except UserError as error:
        print(f"pnnbench {command}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("pnnbench: interrupted; run the same command again to go on", file=sys.stderr)  # noqa: T201
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:
        if not disk_full(error):
            raise
        print(f"pnnbench {command}: {DiskFullError(error.filename)}", file=sys.stderr)  # noqa: T201
        return 2


if __name__ == "__main__":
    sys.exit(main())

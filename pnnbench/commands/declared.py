"""What the command line accepts: every subcommand and its arguments, as data."""

from __future__ import annotations

from pnnbench.accelerator import ACCELERATORS, PRECISIONS
from pnnbench.arguments import (
    Argument,
    Command,
    choice,
    factor,
    integer,
    integers,
    mapping,
    text,
    yes_or_no,
)
from pnnbench.commands import names as known
from pnnbench.leaderboard.knowledge import KNOWLEDGE
from pnnbench.records.schema import TIERS
from pnnbench.seeds import FIRST_TUNING

_TABLE_OR_JSON = Argument("--format", "Output.", choice("table", "json"), "table")
_DATA = Argument(
    "--data",
    "Data folder, else that of PNNBENCH_DATA, else ~/.cache/pnnbench/data.",
    text("a folder", "FOLDER"),
)
_RUNS = Argument("--runs", "Folder of the run folders.", text("a folder", "FOLDER"), "runs")
_THREADS = Argument("--threads", "Threads of torch.", integer(1, 4096))
_ACCELERATOR = Argument(
    "--accelerator",
    "Where it is computed; auto is the CPU unless the workload gains from a GPU.",
    choice(*ACCELERATORS),
    "auto",
)
_PRECISION = Argument(
    "--precision",
    "Precision of the training, else the suite's, else 32; it is part of a job's hash.",
    choice(*PRECISIONS),
)
_PICTURES = Argument("--pictures", "Draw pictures of each run.", yes_or_no(), True)
_WANDB = Argument(
    "--wandb",
    "Mirror to Weights & Biases; auto is as WANDB_MODE or wandb's settings say, else offline.",
    choice("auto", "offline", "online", "disabled"),
)
_PARAMS = Argument(
    "--params",
    "Hyper-parameters: '{rho: 0.3}', or --params.rho 0.3; repeatable.",
    mapping(),
    many=True,
)
_RUN = Argument(
    "run",
    "SUITE/ROW/SEED, its folder, or the beginning of its hash.",
    text("SUITE/ROW/SEED, a run folder, or the beginning of a hash", "RUN", known.runs),
)
_TRUST = Argument(
    "--trust",
    "Run code that the run names by a class path: only where you know who wrote it.",
)
_SUITE = Argument(
    "suite",
    "Suite file, or the name of one that ships.",
    text("a suite file, or the name of one that ships", "SUITE", known.suites),
)
_ONLY = Argument(
    "--only", "These rows only; repeatable.", text("labels of rows", "ROW[,ROW]"), many=True
)
_WORKLOAD = text("a registered name or a class path", "WORKLOAD", known.workloads)
_METHOD = text("a registered name or a class path", "METHOD", known.methods)
_DATA_SET = text("a registered name, image-folder:PATH or a class path", "NAME", known.data)
_CHECKED = text("a registered name or a class path", "CLASS", known.checked)
_SEED = FIRST_TUNING - 1

#: Every subcommand, in the order of the help.
DECLARED = (
    Command(
        "run",
        "Run a suite and print its leaderboard.",
        (
            _SUITE,
            _ONLY,
            Argument("--seeds", "Run these seeds in place of the suite's.", integers(0, _SEED)),
            Argument(
                "--add",
                "Add a method as a row of the suite; repeatable.",
                text("a class path or a registered name", "CLASS", known.methods),
                many=True,
            ),
            Argument("--dry-run", "Say what would run, and for how long, and stop."),
            Argument(
                "--adopt",
                "Take over finished jobs of other suites in --runs, and of ./leaderboards.",
                yes_or_no(),
                True,
            ),
            Argument(
                "--baselines",
                "Show a suite of your own beside the finished rows of suites that ship.",
                yes_or_no(),
                True,
            ),
            _RUNS,
            _DATA,
            _THREADS,
            _ACCELERATOR,
            _PRECISION,
            _PICTURES,
            _WANDB,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "train",
        "Train and measure one method on one workload.",
        (
            Argument("workload", "Registered name or class path.", _WORKLOAD),
            Argument("method", "Registered name or class path.", _METHOD),
            _PARAMS,
            Argument("--data-set", "Another data set than the workload's own.", _DATA_SET),
            Argument("--tier", "Size.", choice(*TIERS), "quick"),
            Argument("--seed", "Repetition.", integer(0, _SEED), 0),
            Argument("--epochs-factor", "Multiple of the epochs.", factor(1000), 1.0),
            _RUNS,
            _DATA,
            _THREADS,
            _ACCELERATOR,
            _PRECISION,
            _PICTURES,
            _WANDB,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "tune",
        "Search the settings of a suite's rows, and write them into it.",
        (
            _SUITE,
            _ONLY,
            Argument("--trials", "Points of each row, else the protocol's 16.", integer(1, 1024)),
            Argument("--finalists", "Best of them that are tried again, else 4.", integer(1, 64)),
            Argument("--more-seeds", "Further seeds of each finalist, else 4.", integer(0, 100)),
            Argument("--anew", "Begin anew; the earlier record is kept beside."),
            Argument("--dry-run", "Say what would run, and for how long, and stop."),
            _RUNS,
            _DATA,
            _THREADS,
            _ACCELERATOR,
            _PRECISION,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "evaluate",
        "Measure a finished run's grid again and compare with its record.",
        (
            _RUN,
            _RUNS,
            _DATA,
            _ACCELERATOR,
            _TRUST,
            Argument("--format", "Output.", choice("table", "json", "csv"), "table"),
        ),
    ),
    Command(
        "sharpness",
        "Measure a finished run's sharpness again.",
        (
            _RUN,
            _RUNS,
            _DATA,
            _ACCELERATOR,
            Argument("--spectrum", "Tell where all eigenvalues of the Hessian lie, too."),
            _TRUST,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "plot",
        "Draw the pictures of a finished run, or of a suite's folder.",
        (_RUN, _RUNS, _DATA, _TRUST, _TABLE_OR_JSON),
    ),
    Command(
        "leaderboard",
        "Rank methods from records.",
        (
            Argument(
                "records",
                "Folders with records; without any runs/, else the committed leaderboards/.",
                text("folders with records", "FOLDER"),
                default=[],
                many=True,
            ),
            Argument(
                "--format",
                "Output.",
                choice("table", "json", "csv", "markdown", "html"),
                "table",
            ),
            Argument(
                "--join",
                "Show suites of the same workload, tier, protocol and data on one table.",
            ),
            Argument(
                "--without",
                "Leave out rows that know this of the tests, and rank the others; repeatable.",
                choice(*KNOWLEDGE),
                many=True,
            ),
            Argument(
                "--publish",
                "Folder for records, page and pictures, such as leaderboards/SUITE; parameters and "
                "outcomes of one seed of each row go with them, and the best seed's parameters.",
                text("a folder", "FOLDER"),
            ),
            Argument(
                "--wandb",
                "Also log the leaderboard to Weights & Biases, without a value as for run.",
                choice("auto", "offline", "online", "disabled"),
                alone="auto",
            ),
        ),
    ),
    Command(
        "claims",
        "Decide the published claims from records.",
        (
            Argument(
                "records",
                "Folders with records; without any the committed leaderboards/.",
                text("folders with records", "FOLDER"),
                default=[],
                many=True,
            ),
            Argument("--format", "Output.", choice("table", "json", "markdown", "html"), "table"),
            Argument(
                "--publish",
                "Folder for the page, its Markdown and JSON, such as leaderboards.",
                text("a folder", "FOLDER"),
            ),
        ),
    ),
    Command(
        "reproduce",
        "Check the published tables of a platform.",
        (
            Argument(
                "platform",
                "Registered name, such as mrr or mzi.",
                text("a registered name", "PLATFORM", known.published),
            ),
            Argument(
                "--checkpoints",
                "Folder of .npz files, or one of them; needed.",
                text("a folder of .npz files, or one of them", "PATH"),
            ),
            Argument("--format", "Output.", choice("table", "json", "markdown"), "table"),
            _DATA,
        ),
    ),
    Command(
        "list",
        "List what there is: names and a line each, or all that is known of one kind.",
        (
            Argument(
                "kind",
                "What to list; without it, all kinds in short.",
                choice(*known.LISTED),
                optional=True,
            ),
            _RUNS,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "check",
        "Check that a training method, a platform or a workload behaves.",
        (
            Argument("name", "Class path or registered name.", _CHECKED),
            _PARAMS,
            Argument(
                "--workload",
                "Workload on the digits, else the first that the method supports.",
                _WORKLOAD,
            ),
            Argument("--all", "Check on every platform that the method supports."),
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "new-method",
        "Make a package with a training method that works, to be changed.",
        (
            Argument("name", "Name of the method, such as tilted-sat.", text("a name", "NAME")),
            Argument("--out", "Where its folder goes.", text("a folder", "FOLDER"), "."),
            Argument(
                "--author", "Author on its card; repeatable.", text("a name", "NAME"), many=True
            ),
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "submit",
        "Pack a row of a board, all its seeds, as a submission.",
        (
            Argument(
                "row",
                "Label of the row, SUITE/ROW, the name of its method, or a run of it.",
                text("a row, such as SUITE/ROW, or a run of it", "ROW", known.runs),
            ),
            _RUNS,
            Argument("--card", "Who made the method: JSON.", text("a file", "FILE"), "card.json"),
            Argument("--out", "Where it goes.", text("a folder", "FOLDER"), "submissions"),
            Argument("--zip", "Make a zip in place of a folder."),
            _TRUST,
            _DATA,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "verify",
        "Re-evaluate a submission from its tensors alone, in a process of its own.",
        (
            Argument("submission", "Folder or zip.", text("a folder or a zip", "SUBMISSION")),
            Argument(
                "--key",
                "Secret of a maintainer: measure on devices drawn from it too.",
                text("a file", "FILE"),
            ),
            Argument("--out", "Where the verification is written too.", text("a file", "FILE")),
            Argument("--timeout", "Seconds after which it is given up.", integer(1, 10**6), 86_400),
            _DATA,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "retrain",
        "Train a seed of a submission again, and compare.",
        (
            Argument(
                "submission", "Submission: a folder or a zip.", text("a folder or a zip", "PATH")
            ),
            Argument("--seed", "Which seed, else the first that finished.", integer(0, _SEED)),
            _RUNS,
            Argument("--out", "Where the badge is written too.", text("a file", "FILE")),
            _TRUST,
            _DATA,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "new-key",
        "Make a maintainer's secret, from which held-out devices are drawn.",
        (Argument("file", "File, which must not be there yet.", text("a new file", "FILE")),),
    ),
    Command(
        "doctor",
        "Find what is wrong in a folder of runs, a board or submissions.",
        (
            Argument(
                "runs",
                "Folder of runs, boards or submissions.",
                text("a folder", "FOLDER"),
                "runs",
                optional=True,
            ),
            Argument("--fix", "Move leftovers aside, into .set-aside; nothing is deleted."),
            Argument("--quick", "Leave out what needs the registered workloads and boards built."),
            _DATA,
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "data",
        "Check a data set, or download it.",
        (
            Argument("name", "Registered name, image-folder:PATH or class path.", _DATA_SET),
            Argument("--download", "Download what is missing."),
            Argument("--root", _DATA.help, _DATA.kind),
            _TABLE_OR_JSON,
        ),
    ),
    Command(
        "completion",
        'Print the completion script of a shell: eval "$(pnnbench completion bash)".',
        (Argument("shell", "Which shell the script is for.", choice("bash", "zsh")),),
    ),
)

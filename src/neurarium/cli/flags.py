"""The flags and arguments of the verbs: their types, names and help."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

# What is read
Source = Annotated[
    str, Argument(metavar="SOURCE", help="A data set's name, a file, or a folder of pictures.")
]
NewRows = Annotated[
    str, Argument(metavar="SOURCE", help="New rows, like those trained on; no target needed.")
]
Target = Annotated[
    str | None, Option(metavar="COLUMN", help="Column to predict, by name or position (-1: last).")
]
Task = Annotated[
    str | None, Option(metavar="TASK", help="binary, multiclass, multilabel or regression.")
]
Types = Annotated[
    str | None, Option(metavar="KINDS", help='Kinds of columns: "zip=category,id=drop".')
]
Header = Annotated[
    bool | None, Option("--header/--no-header", help="Whether the first line names the columns.")
]
Delimiter = Annotated[
    str | None, Option(metavar="CHARACTER", help="What separates the cells of a text file.")
]
Encoding = Annotated[str | None, Option(metavar="NAME", help="Of a text file, such as cp1252.")]
ImageSize = Annotated[
    str | None, Option(metavar="SIZE", help='Pictures are resized to: "64" or "48x64".')
]
Edges = Annotated[
    str | None, Option(metavar="FILE", help="Edges between the rows, which are nodes of a graph.")
]
Directed = Annotated[
    bool | None, Option("--directed/--undirected", help="Whether edges lead one way only.")
]
Time = Annotated[
    str | None, Option(metavar="COLUMN", help="Of times: the rows are a series, to be forecast.")
]
Horizon = Annotated[int | None, Option(metavar="ROWS", help="Of a series: how far ahead.")]
History = Annotated[int | None, Option(metavar="ROWS", help="Of a series: how far back is seen.")]
Season = Annotated[
    int | None, Option(metavar="ROWS", help="Of a series: of its cycle, 1 for none.")
]
TestSize = Annotated[float | None, Option(metavar="SHARE", help="Of the rows, for the test.")]
ValSize = Annotated[
    float | None, Option(metavar="SHARE", help="Of the other rows, for validation.")
]

# What is trained, and how
Network = Annotated[
    str | None,
    Option("--network", "--model", metavar="NAME", help='Such as "MLP:hidden=256x256".'),
]
Loss = Annotated[str | None, Option(metavar="NAME", help='Such as "huber:delta=1".')]
Penalties = Annotated[
    list[str] | None,
    Option("--penalty", metavar="NAME", help='Added to the loss, such as "l1:1e-4"; repeat.'),
]
Augment = Annotated[
    list[str] | None, Option(metavar="NAME", help='Of pictures in training: "shift:2"; repeat.')
]
Callback = Annotated[
    list[str] | None, Option(metavar="NAME", help='Besides: "max_norm:3", "ema"; repeat.')
]
Rule = Annotated[str | None, Option(metavar="NAME", help="Learning rule, such as backprop.")]
Optimizer = Annotated[str | None, Option(metavar="NAME", help='Such as "sgd:momentum=0.9".')]
LearningRate = Annotated[float | None, Option(metavar="RATE", help="Highest learning rate.")]
Schedule = Annotated[
    str | None, Option(metavar="NAME", help='Of the learning rate: "one_cycle", "constant".')
]
WeightDecay = Annotated[float | None, Option(metavar="RATE", help="Of the optimizer.")]
MaxGradNorm = Annotated[float | None, Option(metavar="NORM", help="The gradient is cut to it.")]
Epochs = Annotated[int | None, Option(min=1, metavar="N", help="Passes over the training rows.")]
BatchSize = Annotated[int | None, Option(min=1, metavar="ROWS", help="Rows of one step.")]
MaxSteps = Annotated[int | None, Option(min=1, metavar="N", help="Stop after so many steps.")]
MaxTime = Annotated[str | None, Option(metavar="TIME", help="Stop after: seconds, or HH:MM:SS.")]
Patience = Annotated[
    int | None, Option(min=1, metavar="EPOCHS", help="Without improvement until it stops.")
]
Seed = Annotated[int, Option(metavar="N", help="Of split, weights and order of rows.")]
Device = Annotated[str | None, Option(metavar="NAME", help="cpu, cuda or mps.")]
Precision = Annotated[str | None, Option(metavar="BITS", help="32, bf16 or 16.")]
Threads = Annotated[int | None, Option(min=1, metavar="N", help="Of the CPU.")]
Workers = Annotated[
    int | None, Option(min=1, metavar="N", help="Processes of this machine that share each batch.")
]
Strategy = Annotated[
    str | None, Option(metavar="NAME", help="What workers hold: ddp all weights, fsdp parts.")
]
Compile = Annotated[bool | None, Option("--compile/--no-compile", help="Compile the network.")]
ChannelsLast = Annotated[
    bool | None, Option("--channels-last/--no-channels-last", help="Memory layout of pictures.")
]
FastDevRun = Annotated[
    bool, Option("--fast-dev-run", help="One batch of everything as a trial; saves nothing.")
]

# What is left behind, and said
Name = Annotated[str | None, Option(metavar="NAME", help="Of the run; else that of the data.")]
Directory = Annotated[Path, Option(metavar="FOLDER", help="Where run folders go.")]
NoReport = Annotated[bool, Option("--no-report", help="Write no report.html.")]
Json = Annotated[bool, Option("--json", help="The result as one JSON object, last on stdout.")]
Quiet = Annotated[bool, Option("-q", "--quiet", help="Only the figures and the folder.")]
Verbose = Annotated[bool, Option("-v", "--verbose", help="Also why it computes as it does.")]
RunFolder = Annotated[
    str, Argument(metavar="RUN", help="A run's folder, or its name: the newest is taken.")
]


def given(options: dict[str, Any], names: str) -> dict[str, Any]:
    """Those of these options that were said."""
    return {name: options[name] for name in names.split() if options[name] is not None}

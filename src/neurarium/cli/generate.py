"""`neurarium generate`: a text in the manner of those trained on."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurarium.cli import flags
from neurarium.cli.output import Output

if TYPE_CHECKING:
    from neurarium.training import Run


def generate(
    run: flags.RunFolder,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", metavar="TEXT", help="How the text begins.")
    ] = "",
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", min=1, metavar="N", help="How many to add.")
    ] = 500,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 always takes the likeliest, 1 draws as learnt.")
    ] = 0.8,
    top_k: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Draw from the K likeliest alone.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(metavar="P", help="Draw from the likeliest that make up P.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option(min=1, metavar="WIDTH", help="Search for the likeliest text.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draws.")] = 0,
    as_json: flags.Json = False,
) -> None:
    """Write on, token by token, from a prompt.

    Characters that the training text did not have are read as unknown. Of a prompt longer than
    the network's context only the end counts.
    """
    from neurarium.cli.folders import find_run
    from neurarium.training import Run

    folder = find_run(run)
    with Output(as_json) as output:
        how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        loaded = Run.load(folder)
        text = write_on(loaded, prompt, tokens, beam=beam, seed=seed, **how)
        if not as_json:  # as it is: nothing is broken to the terminal's width
            print(prompt + text, file=output.stream, flush=True)
        output.result({"run": str(folder), "prompt": prompt, "text": text})


def write_on(
    run: "Run", prompt: str, tokens: int, *, beam: int | None, seed: int, **how: Any
) -> str:
    """What the run's model writes behind the prompt."""
    import torch

    from neurarium.data import TextPreprocessing
    from neurarium.text import decode

    prepared = run.preprocessing
    if not isinstance(prepared, TextPreprocessing):
        raise ValueError(
            "this run was not trained on a text, so it cannot write one; `neurarium fit book.txt` "
            "makes one that can"
        )
    strange = prepared.tokenizer.unknown(prompt)
    if strange:
        note = f"not in the training text, so unknown: {' '.join(map(repr, strange))}"
        print(note, file=sys.stderr)  # what is written may go to a file
    begun = prepared.start(prompt)
    if beam is not None:
        found = decode.beam(decode.step_of(run.model), begun, tokens, beam)[0][0].tokens
    else:
        how["generator"] = torch.Generator().manual_seed(seed)
        found = decode.sample(decode.step_of(run.model), begun, tokens, **how)[0].tolist()
    return prepared.tokenizer.decode(found)

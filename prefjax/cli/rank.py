"""Orders responses for one person.

Examples:
  prefjax rank model/ --person ann.json --prompt "Tea or coffee?" "Tea, please." "Coffee!"
  prefjax rank model/ --user w12 candidates.jsonl
  ls *.txt | prefjax rank model/ -

Candidates are texts after --prompt; or JSONL with "prompt" and "responses", a .txt file with one
response a line, or - for such lines on standard input. Without --person and --user the order is
that of the population.
"""

import argparse
import json

from prefjax.cli._reading import add_person, get_person, read_pool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", help="folder of a fitted model")
    parser.add_argument("candidates", nargs="+", help="a file, or texts after --prompt")
    parser.add_argument("--prompt", help="what the candidates answer")
    parser.add_argument("--json", action="store_true", help="one JSON object a prompt")
    add_person(parser)


def run(arguments: argparse.Namespace) -> None:
    """Ranks and prints."""
    from prefjax.model import load

    model = load(arguments.model)
    person = get_person(model, arguments)
    if arguments.prompt is not None:
        pool = [(arguments.prompt, arguments.candidates)]
    elif len(arguments.candidates) == 1:
        pool = read_pool(arguments.candidates[0])
    else:
        raise ValueError("several candidates need --prompt (which may be empty); or name one file")
    for prompt, texts in pool:
        found = person.rank(prompt, texts)
        if arguments.json:
            print(json.dumps(_as_json(prompt, texts, found), ensure_ascii=False))
            continue
        if prompt:
            print(f"{prompt}")
        print("  reward   win probability  response")
        for place in found.order.tolist():
            low, high = found.low[place], found.high[place]
            limits = f"{found.win_probability[place]:.2f} [{low:.2f}, {high:.2f}]"
            shown = " ".join(texts[place].split())
            shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
            print(f"  {found.reward[place]:+.3f}   {limits:<17}  {shown}")


def _as_json(prompt: str, texts: list[str], found) -> dict:
    return {
        "prompt": prompt,
        "reference": texts[found.reference],
        "ranking": [
            {
                "response": texts[place],
                "reward": float(found.reward[place]),
                "win_probability": float(found.win_probability[place]),
                "low": float(found.low[place]),
                "high": float(found.high[place]),
            }
            for place in found.order.tolist()
        ],
    }

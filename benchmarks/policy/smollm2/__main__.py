"""Train SmolLM2 on the simulated world, measure it, and write its model card.

``python -m benchmarks.policy.smollm2 --json benchmarks/policy/smollm2/figures.json`` takes about half an hour on a core.
``--card docs/smollm2.md`` writes the card, and with ``--from FILE`` only that, from what was measured before.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import result, write
from benchmarks.policy.smollm2.card import card
from benchmarks.policy.smollm2.measure import PACKAGES, QUICK, about, figures_of, measure
from benchmarks.policy.smollm2.recipe import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy.smollm2", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a small fraction of the rows")
    parser.add_argument("--seed", type=int, help="of the world; below 10 for development")
    parser.add_argument("--json", type=Path, help="write the figures, the recipe and examples to this file")
    parser.add_argument("--from", dest="before", type=Path, help="take them from this file instead of measuring")
    parser.add_argument("--card", type=Path, help="write the model card to this file")
    arguments = parser.parse_args()
    if arguments.before:
        found = json.loads(arguments.before.read_bytes())
    else:
        recipe = QUICK if arguments.quick else Recipe()
        if arguments.seed is not None:
            recipe = replace(recipe, seed=arguments.seed)
        measured = measure(recipe)
        found = result("smollm2", figures_of(measured), PACKAGES, **about(measured))
    write(found, arguments.json)
    if arguments.card:
        arguments.card.write_text(card(found), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Fit a range prior from the places of a split's recordings; reads the annotations, no recording.

Examples:
  hf-inatsounds geo-prior path/to/archives --out prior.safetensors
  hf-inatsounds geo-prior official --name aves --out aves.safetensors
  hf-inatsounds evaluate runs/ast --source path/to/archives --split test --geo-prior prior.safetensors
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import note, show
from hf_inatsounds.schema import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("source", type=given.name, help="official, a folder, a base URL, or a Hub dataset id")
    parser.add_argument("--out", type=given.prior_file, required=True, help="file to write (.safetensors)")
    parser.add_argument("--split", choices=SPLITS, default="train", help="whose places (default: train)")
    given.add_selection(parser)
    parser.add_argument("--seed", type=given.seed, default=0, help="of the cross-validation's folds (default: 0)")


def run(arguments: argparse.Namespace) -> None:
    """Fit, save, and print what was chosen."""
    import numpy as np

    from hf_inatsounds.data.selection import Selection
    from hf_inatsounds.data.split_info import chosen_annotations
    from hf_inatsounds.geo import fit_prior

    selection = Selection.parse(arguments.name, arguments.select)
    annotations = chosen_annotations(arguments.source, selection, arguments.split)
    table = annotations.table
    place = {name: table[name].to_numpy() for name in ("latitude", "longitude", "location_uncertainty_m")}
    prior = fit_prior(
        place["latitude"].astype(np.float64),
        place["longitude"].astype(np.float64),
        table["label"].to_numpy(),
        annotations.label_space.species,
        uncertainty_m=place["location_uncertainty_m"].astype(np.float64),
        seed=arguments.seed,
        about={"dataset": annotations.dataset, "name": arguments.name, "split": arguments.split},
    )
    prior.save(arguments.out)
    about = prior.about
    text = (
        f"{arguments.out}: {about['recordings']:,} places of {int(prior.known.sum()):,} of {len(prior.species):,} "
        f"classes ({about['recordings_without_place']} recordings without a place)\n"
        f"kernels: median width {about['median_width_km']:,.0f} km (scale {about['scale']}), smoothing "
        f"{about['smoothing']}, chosen by cross-validation\n"
        f"held-out log-likelihood of the species given the place: {about['log_likelihood']:.3f}; of frequencies alone: "
        f"{about['log_likelihood_of_frequencies']:.3f}"
    )
    show({"out": arguments.out, "classes": int(prior.known.sum()), **about}, text, as_json=arguments.json)
    note(f"next: hf-inatsounds evaluate MODEL --source {arguments.source} --geo-prior {arguments.out}",
         quiet=arguments.quiet)  # fmt: skip

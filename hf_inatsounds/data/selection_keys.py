"""What a selection can be about; nothing heavy is imported here, since ``--help`` needs it."""

from __future__ import annotations

from hf_inatsounds.schema import RANKS

CLASS_KEYS = ("species", "supercategory", *RANKS, "evaluation")
"""Conditions on a class."""

RECORDING_KEYS = ("license", "box", "radius", "polygon", "date", "duration_s")
"""Conditions on a recording."""

OTHER_KEYS = ("max_per_class", "seed", "relabel")

KEYS = (*CLASS_KEYS, *RECORDING_KEYS, *OTHER_KEYS)

HELP = (
    f"only these recordings, KEY=VALUE, may be given several times: {', '.join(RANKS[:-1])}, species, supercategory, "
    "license (names with commas between them, or @FILE of one per line), evaluation=true, "
    "box=SOUTH,WEST,NORTH,EAST, radius=LAT,LON,KM, polygon=FILE.geojson, date=FROM..TO, duration_s=FROM..TO, "
    "max_per_class=N (drawn by seed=N), relabel=true (only the chosen classes remain)"
)
"""Of ``--select``."""

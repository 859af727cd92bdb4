"""Memory of a worker over 10,000 training examples: does it stay where it was after the first thousand?

    python -m benchmarks.worker_memory [--examples 10000]

One process reads a mirror's row groups, 120 recordings of the dataset's durations, cuts crops of 3 s with the recipe's
simple augmentation, and stacks batches of 15, again and again. `growth` is the resident memory at the end less that
after the first tenth; `peak` is the highest ever, libraries (torch, transformers, pyarrow) included.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.host import BATCH, MODEL_RATE, make_mirror, rows_of_mirror
from hf_inatsounds.augmentation import WaveformAugmentation
from hf_inatsounds.training.crops import CropCollator, RecordingList

RECORDINGS = 120


def resident_mb() -> float:
    """Of this process, as the kernel counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def figures(quick: bool = False, examples: int = 10_000) -> dict[str, Any]:
    """Resident memory along the way."""
    examples = min(examples, 1_000) if quick else examples
    collate = CropCollator(3.0, MODEL_RATE, WaveformAugmentation(6.0, 0.5, 0.5, 0.5), 400, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        make_mirror(Path(folder) / "mirror", RECORDINGS)
        recordings = RecordingList(rows_of_mirror(Path(folder) / "mirror"))
        before, after_a_tenth, made, epoch = resident_mb(), 0.0, 0, 0
        while made < examples:
            recordings.set_epoch(epoch)
            order = recordings.order(0, epoch, BATCH).tolist()
            for i in range(0, len(order), BATCH):
                made += len(collate(recordings.__getitems__(order[i : i + BATCH]))["labels"])
                after_a_tenth = after_a_tenth or (resident_mb() if made >= examples / 10 else 0.0)
            epoch += 1
    return {
        "examples": made,
        "before, MB": before,
        "after a tenth, MB": after_a_tenth,
        "at the end, MB": resident_mb(),
        "growth, MB": resident_mb() - after_a_tenth,
        "peak, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10_000)
    print(json.dumps(figures(examples=parser.parse_args().examples), indent=2))


if __name__ == "__main__":
    main()

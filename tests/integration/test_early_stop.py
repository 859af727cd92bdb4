"""Taking one row of a stream and leaving; more loader workers than shards."""

import subprocess
import sys
from pathlib import Path

from hf_inatsounds.cli.main import main

ROOT = Path(__file__).parents[2]

# each stream is left with a row taken, while whatever reads ahead for it still runs
LEAVE = """
import sys
from torch.utils.data import DataLoader
from hf_inatsounds import load_dataset

source, index = sys.argv[1:]
forward = load_dataset("all", "train", source=source)
mixed = load_dataset("all", "train", source=source, index=index).shuffle(seed=0)
ids = [row["recording_id"] for row in DataLoader(forward, batch_size=None, num_workers=4)]
assert len(ids) == len(set(ids)) == 12
streams = [iter(forward), iter(mixed), iter(DataLoader(mixed, batch_size=None, num_workers=2))]
print(sum(next(stream)["recording_id"] >= 0 for stream in streams))
"""


def test_leaving_streams_early_ends_in_order_and_workers_give_each_row_once(tiny, tmp_path):
    index = str(tmp_path / "index")
    assert main(["index", str(tiny), "--out", index, "--split", "train", "--quiet"]) == 0
    command = [sys.executable, "-c", LEAVE, str(tiny), index]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr

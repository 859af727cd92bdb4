"""Rows of the loading script under datasets 3.6.0 against the builder's under this environment's datasets.

    python tests/environments/loading_script_rows.py --against .venv-loading-script/bin/python

makes a small source, packed, unpacked and behind a URL, digests all rows here and there, prints both, and exits
with 1 where they differ.
"""

import argparse
import hashlib
import json
import os
import socketserver
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("all", "aves", "amphibia", "evaluation", "annotations")
SPLITS = ("train", "validation", "test")


def digests(source, by_script):
    """ "name/split/streaming or prepared" → [rows, digest]."""
    import datasets

    import hf_inatsounds

    datasets.disable_progress_bars()
    found = {}
    for name in NAMES:
        for split in SPLITS:
            for streaming in (True, False):
                if by_script:
                    script = str(ROOT / "loading_script" / "inatsounds.py")
                    loaded = datasets.load_dataset(
                        script, name, split=split, streaming=streaming, trust_remote_code=True, source=source
                    )
                else:
                    loaded = hf_inatsounds.load_dataset(name, split, source=source, streaming=streaming)
                found[f"{name}/{split}/{'streaming' if streaming else 'prepared'}"] = digest(loaded)
    return {"datasets": datasets.__version__, "rows": found}


def digest(loaded):
    import datasets

    if "audio" in loaded.column_names:
        loaded = loaded.cast_column("audio", datasets.Audio(sampling_rate=22_050, decode=False))
    state = hashlib.sha256(json.dumps([loaded.column_names, loaded.features["label"].names]).encode())
    n = 0
    for row in loaded:
        n += 1
        audio = row.pop("audio", None)
        state.update(json.dumps([list(row.items()), audio and audio["path"]]).encode())
        state.update(audio["bytes"] if audio else b"")
    return [n, state.hexdigest()[:16]]


def run(python, source, *words):
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HF_HOME": home, "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
        words = [os.path.abspath(python), str(Path(__file__).resolve()), "--source", str(source), *words]
        return json.loads(subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, cwd=home).stdout)


def compare(python):
    sys.path.insert(0, str(ROOT))
    from tests.helpers.archive import write_source
    from tests.helpers.server import serving

    socketserver.BaseServer.handle_error = lambda *_: None  # clients that look whether a file exists hang up early
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tree").mkdir()
        tree = write_source(Path(folder) / "tree", unpacked=True)
        with serving(write_source(Path(folder))) as url:
            kinds = {"archives": folder, "unpacked": str(tree), "url": url}
            return max([compare_source(python, kind, source) for kind, source in kinds.items()])


def compare_source(python, kind, source):
    here, there = run(sys.executable, source), run(python, source, "--by-script")
    same = here["rows"] == there["rows"]
    print(f"{kind:36}builder, datasets {here['datasets']:14}script, datasets {there['datasets']}")
    for key, (n, found) in here["rows"].items():
        print(f"{key:36}{n:3} {found:30}{there['rows'][key][0]:3} {there['rows'][key][1]}")
    print("the same rows" if same else "THE ROWS DIFFER", flush=True)
    return 0 if same and all(n for n, _ in here["rows"].values()) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="the other environment's python")
    parser.add_argument("--source", help="print the digests of this source's rows as JSON, here")
    parser.add_argument("--by-script", action="store_true", help="load with the script")
    arguments = parser.parse_args()
    if arguments.against:
        sys.exit(compare(arguments.against))
    print(json.dumps(digests(arguments.source, arguments.by_script)))

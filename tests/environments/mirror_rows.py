"""Print the rows of a mirror as JSON lines, with datasets (3.6 or later) and soundfile alone.

    python mirror_rows.py REPO_OR_FOLDER NAME:SPLIT:streaming NAME:SPLIT:prepared …

Each line is one dataset's rows. Of audio: its path, the SHA-256 of its bytes and of its samples (null where it does not
decode).

    python mirror_rows.py --serve

answers every line ``PLACE NAME:SPLIT:streaming`` of its input with a line: the rows' sorted recording ids and audio
paths, or what was said where nothing can be loaded. So a repository can be looked at between any two commits.
"""

import hashlib
import io
import json
import sys
import tempfile

sys.modules["hf_inatsounds"] = None  # type: ignore[assignment]  # importing it fails from here on

import datasets  # noqa: E402
import soundfile  # noqa: E402


def audio_digests(audio: dict) -> list:
    try:
        samples = hashlib.sha256(soundfile.read(io.BytesIO(audio["bytes"]), dtype="int16")[0].tobytes()).hexdigest()
    except soundfile.LibsndfileError:
        samples = None
    return [audio["path"], hashlib.sha256(audio["bytes"]).hexdigest(), samples]


def rows(place: str, name: str, split: str, streaming: bool, cache: "str | None" = None) -> list:
    loaded = datasets.load_dataset(place, name, split=split, streaming=streaming, cache_dir=cache)
    assert isinstance(loaded.features["label"], datasets.ClassLabel)
    if "audio" in loaded.features:
        assert isinstance(loaded.features["audio"], datasets.Audio)
        assert loaded.features["audio"].sampling_rate == 22_050
        loaded = loaded.cast_column("audio", datasets.Audio(decode=False))
    return [row | ({"audio": audio_digests(row["audio"])} if "audio" in row else {}) for row in loaded]


def serve() -> None:
    datasets.disable_progress_bars()
    for line in sys.stdin:
        place, asked = line.rsplit(maxsplit=1)
        name, split, how = asked.split(":")
        try:
            with tempfile.TemporaryDirectory() as cache:  # where nothing can be loaded, datasets takes what it has
                found = rows(place, name, split, how == "streaming", cache)
        except (OSError, ValueError) as error:  # no such repository, configuration or file: nothing is given
            answer = f"{type(error).__name__}: {error}"
        else:
            answer = sorted([row["recording_id"], row["audio"][0] if "audio" in row else None] for row in found)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve()
        sys.exit()
    for asked in sys.argv[2:]:
        config, split_name, how = asked.split(":")
        print(json.dumps(rows(sys.argv[1], config, split_name, how == "streaming")), flush=True)

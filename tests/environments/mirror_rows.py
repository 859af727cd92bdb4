"""Print the rows of a mirror as JSON lines, with datasets (3.6 or later) and soundfile alone.

    python mirror_rows.py REPO_OR_FOLDER NAME:SPLIT:streaming NAME:SPLIT:prepared …

Each line is one dataset's rows. Of audio: its path, the SHA-256 of its bytes and of its samples (null where it does not
decode).
"""

import hashlib
import io
import json
import sys

sys.modules["hf_inatsounds"] = None  # type: ignore[assignment]  # importing it fails from here on

import datasets  # noqa: E402
import soundfile  # noqa: E402


def audio_digests(audio: dict) -> list:
    try:
        samples = hashlib.sha256(soundfile.read(io.BytesIO(audio["bytes"]), dtype="int16")[0].tobytes()).hexdigest()
    except soundfile.LibsndfileError:
        samples = None
    return [audio["path"], hashlib.sha256(audio["bytes"]).hexdigest(), samples]


def rows(place: str, name: str, split: str, streaming: bool) -> list:
    loaded = datasets.load_dataset(place, name, split=split, streaming=streaming)
    assert isinstance(loaded.features["label"], datasets.ClassLabel)
    if "audio" in loaded.features:
        assert isinstance(loaded.features["audio"], datasets.Audio)
        assert loaded.features["audio"].sampling_rate == 22_050
        loaded = loaded.cast_column("audio", datasets.Audio(decode=False))
    return [row | ({"audio": audio_digests(row["audio"])} if "audio" in row else {}) for row in loaded]


if __name__ == "__main__":
    for asked in sys.argv[2:]:
        config, split_name, how = asked.split(":")
        print(json.dumps(rows(sys.argv[1], config, split_name, how == "streaming")), flush=True)

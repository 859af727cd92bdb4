"""What transformers alone makes of classifiers on a Hub: their classes, and logits of what is in OUT/NAME.npz.

    python plain_classifiers.py OUT me/NAME …

Prints a JSON object: repository → labels, logits, what did not load, and the model's class. An image model gets pixels,
since transformers makes no spectrogram images. All others get the waveform.
"""

import contextlib
import io
import json
import sys
import traceback
from pathlib import Path

sys.modules["hf_inatsounds"] = None  # type: ignore[assignment]  # importing it fails from here on

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
)


def answer(repo_id: str, arrays: dict[str, np.ndarray]) -> dict[str, object]:
    rate = int(arrays["sampling_rate"])
    if "pixel_values" in arrays:
        auto, inputs = AutoModelForImageClassification, {"pixel_values": torch.from_numpy(arrays["pixel_values"])}
    else:
        auto, extractor = AutoModelForAudioClassification, AutoFeatureExtractor.from_pretrained(repo_id)
        inputs = extractor(arrays["waveform"], sampling_rate=rate, return_tensors="pt")
    model, info = auto.from_pretrained(repo_id, output_loading_info=True)
    with torch.inference_mode():
        logits = model.eval()(**inputs).logits
    labels = AutoConfig.from_pretrained(repo_id).id2label
    return {
        "labels": [labels[i] for i in sorted(labels)],
        "logits": logits.tolist(),
        "not_loaded": {key: sorted(map(str, value)) for key, value in info.items() if value},
        "class": f"{type(model).__module__}.{type(model).__name__}",
    }


def main(out: Path, repositories: list[str]) -> None:
    answers: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for repo_id in repositories:
            try:
                answers[repo_id] = answer(repo_id, dict(np.load(out / f"{repo_id.partition('/')[2]}.npz")))
            except Exception:  # noqa: BLE001  the test of this model says it
                answers[repo_id] = {"error": traceback.format_exc()}
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

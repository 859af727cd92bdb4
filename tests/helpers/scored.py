"""A split's scores in memory, the whole of it at once, to compare with."""

from hf_inatsounds.scoring import FileScores
from hf_inatsounds.scoring.recordings import score_block


def score_recordings(classifier, rows, window, *, present, batch_size=32):
    """Scores of all rows, ordered by recording, and what was wrong with them."""
    scores, log = score_block(classifier, rows, window, classes=present, batch_size=batch_size)
    return FileScores.merge([scores]), log

"""A checkpoint's classes against the dataset's: the same label space, or a head that is put in its order by name."""

from __future__ import annotations

from collections.abc import Sequence

from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.models.heads import reorder_head


def fit_classes(classifier: Classifier, label_space: LabelSpace, needed: Sequence[int]) -> None:
    """See that the classifier's classes are the dataset's, in the same order.

    A checkpoint from elsewhere has no label space and gets the dataset's: its classes are found by their scientific
    names. It may lack classes that are not scored, and its further ones are left out.

    Args:
        classifier: changed in place where it has no label space.
        label_space: the dataset's classes.
        needed: labels that are scored.

    Raises:
        CheckpointError: if the label spaces differ, or it lacks a class that is scored.
    """
    if classifier.label_space is not None:
        label_space.check_matches(classifier.label_space, where="checkpoint against dataset")
        return
    theirs = classifier.species
    columns = label_space.columns(theirs)
    lacking = [label_space.species[label] for label in needed if columns[label] is None]
    if lacking:
        foreign = [name for column, name in enumerate(theirs) if column not in columns]
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise CheckpointError(
            "the checkpoint's classes are not the dataset's", where=classifier.folder or "checkpoint",
            found=f"{len(theirs)} classes" + (f", among them {', '.join(map(repr, foreign[:3]))}" if foreign else ""),
            expected=f"classes named {', '.join(map(repr, lacking[:3]))}{more}",
            fix="Without label_space.json they are matched by scientific name, as id2label in config.json has it.",
        )  # fmt: skip
    reorder_head(classifier.model, columns, label_space.species)
    classifier.label_space = label_space

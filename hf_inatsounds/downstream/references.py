"""Published numbers of others, to stand beside a result: labelled as theirs, under their training and protocol."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One published number or triple.

    Attributes:
        name: of the model.
        values: metric → value.
        source: where it is from.
    """

    name: str
    values: dict[str, float]
    source: str


_BIRDSET = "BirdSet's leaderboard repositories, trained on XCL"
_TASKS = ("PER", "NES", "UHH", "HSN", "NBP", "SSW", "SNE", "mean")
_TABLE: dict[str, tuple[str, ...]] = {
    "AST": (".18/.72/.40", "", ".21/.75/.39", ".44/.85/.48", ".61/.91/.66", ".33/.93/.51", ".28/.82/.57",
            ".34/.84/.49"),
    "Wav2Vec2": (".14/.68/.34", ".30/.86/.47", ".21/.76/.51", ".40/.86/.50", ".57/.90/.65", "", ".25/.78/.51",
                 ".31/.78/.50"),
    "EfficientNet-B1": (".17/.71/.38", ".30/.88/.49", ".23/.78/.42", ".35/.86/.59", ".57/.90/.63", ".33/.91/.55",
                        ".28/.83/.67", ".32/.84/.53"),
    "ConvNeXt": (".19/.72/.36", ".34/.88/.45", ".26/.79/.44", ".47/.89/.52", ".62/.92/.64", ".35/.93/.53", "",
                 ".36/.85/.51"),
    "Perch": (".18/.70/.48", ".39/.90/.66", "", "", ".63/.91/.69", ".28/.91/.62", "", ".36/.84/.61"),
}  # fmt: skip


def references_of(suite: str, task: str) -> list[Reference]:
    """What others published for a task.

    Args:
        suite: name of the suite.
        task: name of the task, "mean" for BirdSet's mean.

    >>> [one.name for one in references_of("esc10", "esc10")]
    ['random forest on MFCCs', 'human listeners']
    """
    if suite == "birdset" and task in _TASKS:
        column = _TASKS.index(task)
        rows = [(name, cells[column]) for name, cells in _TABLE.items() if cells[column]]
        return [
            Reference(name, dict(zip(("cmap", "auroc", "t1"), map(float, cell.split("/")), strict=True)), _BIRDSET)
            for name, cell in rows
        ]
    return _ACCURACIES.get(task, [])


_ACCURACIES = {
    "esc10": [
        Reference("random forest on MFCCs", {"accuracy": 0.727}, "Piczak 2015"),
        Reference("human listeners", {"accuracy": 0.957}, "Piczak 2015"),
    ],
    "esc50": [
        Reference("AST pre-trained on AudioSet", {"accuracy": 0.9575}, "the AST paper; five folds"),
        Reference("plain CNN", {"accuracy": 0.645}, "Piczak 2015, CNN paper; five folds"),
        Reference("human listeners", {"accuracy": 0.813}, "Piczak 2015"),
    ],
}

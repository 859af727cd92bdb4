import numpy as np
import pytest
import torch

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.objectives import Multiclass, Multilabel, objective_for, objective_of

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0]])
LABELS = np.array([0, 2])
WEIGHTS = torch.tensor([1.0, 1.0])


def loss(objective, targets=None, weights=WEIGHTS):
    logits = torch.from_numpy(LOGITS).float()
    targets = objective.targets(torch.from_numpy(LABELS), 3) if targets is None else targets
    return objective.loss(logits, targets, weights).item()


def log_softmax(z):
    return z - np.log(np.exp(z).sum(1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_multiclass_is_cross_entropy(smoothing):
    targets = np.eye(3)[LABELS] * (1 - smoothing) + smoothing / 3
    expected = -(targets * log_softmax(LOGITS)).sum(1).mean()
    assert loss(Multiclass(smoothing)) == pytest.approx(expected, abs=1e-6)


def test_multilabel_is_binary_cross_entropy_summed_over_classes():
    p, t = 1 / (1 + np.exp(-LOGITS)), np.eye(3)[LABELS]
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(1).mean()
    assert loss(Multilabel()) == pytest.approx(expected, abs=1e-6)


def test_mixed_targets_are_weighted_for_multiclass_and_united_for_multilabel():
    a, b = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    assert Multiclass().mix(a, b, 0.75).tolist() == [[0.75, 0.25, 0.0]]
    assert Multilabel().mix(a, b, 0.75).tolist() == [[1.0, 1.0, 0.0]]


@pytest.mark.parametrize("objective", [Multiclass(), Multilabel()])
def test_a_recording_of_weight_0_does_not_count(objective):
    alone = objective.losses(torch.from_numpy(LOGITS[:1]).float(), torch.eye(3)[:1]).item()
    assert loss(objective, weights=torch.tensor([1.0, 0.0])) == pytest.approx(alone, abs=1e-6)
    assert loss(objective, weights=torch.zeros(2)) == 0


def test_scores_are_what_the_pipeline_makes():
    logits = torch.from_numpy(LOGITS)
    torch.testing.assert_close(objective_of("single_label_classification").scores(logits), logits.softmax(-1))
    torch.testing.assert_close(objective_of("multi_label_classification").scores(logits), logits.sigmoid())
    assert objective_of(None).name == "multiclass"


def test_unknown_objectives_and_contradictions_are_refused():
    with pytest.raises(RecipeError, match=r"'multi'.*multiclass or multilabel"):
        objective_for("multi")
    with pytest.raises(RecipeError, match="label_smoothing"):
        objective_for("multilabel", label_smoothing=0.1)

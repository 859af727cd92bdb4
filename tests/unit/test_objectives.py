import numpy as np
import pytest
import torch
from torch.nn import functional

from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.objectives import (
    Asymmetry,
    Multiclass,
    Multilabel,
    class_log_prior,
    objective_for,
    objective_of,
    rank_terms,
    sampling_weights,
    supervised_contrastive_losses,
)

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0]])
LABELS = np.array([0, 2])
WEIGHTS = torch.tensor([1.0, 1.0])
ONE_HOT = np.eye(3)[LABELS]
SOFT = np.array([[0.7, 0.3, 0.0], [0.0, 0.4, 0.6]])
LINEAGES = (
    ("A", "B", "C", "D", "F", "G", "x"),
    ("A", "B", "C", "D", "F", "H", "y"),
    ("A", "B", "E", "D", "F", "G", "z"),
)
SPACE = LabelSpace(tuple(Taxon(f"s {ranks[-1]}", "", "Aves", ranks, True) for ranks in LINEAGES))


def loss(objective, targets=None, weights=WEIGHTS):
    logits = torch.from_numpy(LOGITS).float()
    targets = objective.targets(torch.from_numpy(LABELS), 3) if targets is None else torch.from_numpy(targets).float()
    return objective.loss(logits, targets, weights).item()


def log_softmax(z):
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("given", [ONE_HOT, SOFT])
def test_multiclass_is_cross_entropy(smoothing, given):
    targets = given * (1 - smoothing) + smoothing / 3
    expected = -(targets * log_softmax(LOGITS)).sum(1).mean()
    assert loss(Multiclass(smoothing), given) == pytest.approx(expected, abs=1e-6)
    logits = torch.from_numpy(LOGITS)
    peer = functional.cross_entropy(logits, torch.from_numpy(given), label_smoothing=smoothing)
    assert loss(Multiclass(smoothing), given) == pytest.approx(peer.item(), abs=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_multilabel_is_binary_cross_entropy_summed_over_classes(weight):
    p, t = sigmoid(LOGITS), ONE_HOT
    expected = -(t * np.log(p) + weight * (1 - t) * np.log(1 - p)).sum(1).mean()
    assert loss(Multilabel(negative_weight=weight)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_losses_are_their_papers(gamma):
    p = np.exp(log_softmax(LOGITS))
    expected = -(SOFT * (1 - p) ** gamma * np.log(p)).sum(1).mean()
    found = objective_for("multiclass", loss="focal", focal_gamma=gamma)
    assert loss(found, SOFT) == pytest.approx(expected, abs=1e-6)
    p, t = sigmoid(LOGITS), ONE_HOT
    expected = -(t * (1 - p) ** gamma * np.log(p) + (1 - t) * p**gamma * np.log(1 - p)).sum(1).mean()
    found = objective_for("multilabel", loss="focal", focal_gamma=gamma)
    assert loss(found) == pytest.approx(expected, abs=1e-6)


def test_the_asymmetric_loss_is_its_papers():
    p, t = sigmoid(LOGITS), ONE_HOT
    q = np.maximum(p - 0.05, 0)
    expected = -(t * (1 - p) ** 1 * np.log(p) + (1 - t) * q**4 * np.log(1 - q)).sum(1).mean()
    assert loss(objective_for("multilabel", loss="asymmetric")) == pytest.approx(expected, abs=1e-6)
    shifted = objective_for("multilabel", loss="asymmetric", asymmetry={"gamma_negative": 0, "margin": 0.2})
    q = np.maximum(p - 0.2, 0)
    expected = -(t * (1 - p) * np.log(p) + (1 - t) * np.log(1 - q)).sum(1).mean()
    assert loss(shifted) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "objective",
    [
        objective_for("multiclass", loss="focal"),
        objective_for("multilabel", loss="focal"),
        objective_for("multilabel", loss="asymmetric"),
        objective_for("multiclass", hierarchy={"genus": 1.0}, label_space=SPACE),
        objective_for("multilabel", hierarchy={"genus": 1.0}, label_space=SPACE),
    ],
)
def test_losses_and_gradients_are_finite_for_sure_and_wrong_logits(objective):
    logits = torch.tensor([[60.0, -60.0, 0.0], [-60.0, 60.0, 60.0]], requires_grad=True)
    value = objective.loss(logits, torch.tensor([[1.0, 0.0, 0.0]] * 2), WEIGHTS)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_logit_adjustment_adds_the_prior_in_the_loss_alone():
    counts = np.array([8, 1, 0])
    objective = objective_for("multiclass", logit_adjustment=0.5, class_counts=counts)
    prior = np.log(np.array([8, 1, 1]) / 10)
    expected = -(ONE_HOT * log_softmax(LOGITS + 0.5 * prior)).sum(1).mean()
    assert loss(objective) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(objective.scores(torch.from_numpy(LOGITS)), torch.from_numpy(LOGITS).softmax(-1))
    np.testing.assert_allclose(class_log_prior(counts).numpy(), prior, atol=1e-6)


def test_a_taxons_probability_is_the_sum_of_its_species():
    terms = rank_terms(SPACE, {"genus": 0.5, "class": 2.0})
    assert [(term.rank, term.taxa.tolist()) for term in terms] == [("class", [0, 0, 1]), ("genus", [0, 1, 2])]
    p = np.exp(log_softmax(LOGITS))
    by_class = np.stack([p[:, 0] + p[:, 1], p[:, 2]], 1)
    wanted = np.stack([SOFT[:, 0] + SOFT[:, 1], SOFT[:, 2]], 1)
    species = -(SOFT * np.log(p)).sum(1)
    expected = (1.5 * species - 2.0 * (wanted * np.log(by_class)).sum(1)).mean()
    objective = objective_for("multiclass", hierarchy={"genus": 0.5, "class": 2.0}, label_space=SPACE)
    assert loss(objective, SOFT) == pytest.approx(expected, abs=1e-6)


def test_a_taxon_is_present_where_one_of_its_species_is():
    p, t = sigmoid(LOGITS), np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    taxon = np.stack([1 - (1 - p[:, 0]) * (1 - p[:, 1]), p[:, 2]], 1)
    wanted = np.array([[1.0, 0.0], [0.0, 1.0]])
    bce = lambda t, p: -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(1)  # noqa: E731
    expected = (bce(t, p) + 0.5 * bce(wanted, taxon)).mean()
    objective = objective_for("multilabel", hierarchy={"class": 0.5}, label_space=SPACE)
    assert loss(objective, t) == pytest.approx(expected, abs=1e-5)


def test_sampling_weights_are_their_formulas():
    labels = np.array([0] * 100 + [1] * 9 + [2])
    counts = np.array([100, 9, 1])
    expected = {
        "natural": np.ones(3),
        "square-root": 1 / np.sqrt(counts),
        "class-balanced": (1 - 0.9) / (1 - 0.9**counts),
        "uniform": 1 / counts,
    }
    for sampling, per_class in expected.items():
        found = sampling_weights(labels, sampling, beta=0.9)
        assert found.mean() == pytest.approx(1)
        np.testing.assert_allclose(found / found[0], per_class[labels] / per_class[0])
    shares = np.bincount(labels, sampling_weights(labels, "uniform"))
    np.testing.assert_allclose(shares, shares[0])
    with pytest.raises(RecipeError, match="unknown sampling"):
        sampling_weights(labels, "cubic")


def test_supervised_contrastive_loss_is_its_papers():
    generator = np.random.default_rng(0)
    z = generator.standard_normal((7, 5))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    labels = np.array([0, 0, 0, 1, 1, 2, 0])
    expected = np.zeros(7)
    for i in range(7):
        others = [a for a in range(7) if a != i]
        total = sum(np.exp(z[i] @ z[a] / 0.2) for a in others)
        same = [a for a in others if labels[a] == labels[i]]
        expected[i] = -np.mean([np.log(np.exp(z[i] @ z[p] / 0.2) / total) for p in same]) if same else 0
    found = supervised_contrastive_losses(torch.from_numpy(z), torch.from_numpy(labels), temperature=0.2)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("multi", {}, r"'multi'.*multiclass or multilabel"),
        ("multilabel", {"label_smoothing": 0.1}, "label_smoothing"),
        ("multiclass", {"loss": "hinge"}, "plain, focal, asymmetric"),
        ("multiclass", {"loss": "asymmetric"}, "plain or focal with multiclass"),
        ("multiclass", {"focal_gamma": 2.0}, "or the focal loss"),
        ("multilabel", {"asymmetry": {"margin": 0.1}}, "or the asymmetric loss"),
        ("multilabel", {"loss": "asymmetric", "asymmetry": {"m": 0.1}}, r"asymmetry\.m"),
        ("multilabel", {"loss": "asymmetric", "asymmetry": {"margin": 1.0}}, "margin in"),
        ("multiclass", {"negative_weight": 0.5}, "1 with multiclass"),
        ("multilabel", {"negative_weight": 0.0}, "more than 0"),
        ("multilabel", {"logit_adjustment": 1.0}, "0 with multilabel"),
        ("multiclass", {"hierarchy": {"tribe": 1.0}, "label_space": SPACE}, r"'tribe'.*genus"),
        ("multiclass", {"hierarchy": {"genus": -1.0}, "label_space": SPACE}, r"hierarchy\.genus"),
    ],
)
def test_unknown_objectives_and_contradictions_are_refused(name, options, message):
    with pytest.raises(RecipeError, match=message):
        objective_for(name, **options)


def test_an_asymmetry_of_nothing_is_plain():
    plain = Multilabel(asymmetry=Asymmetry(0.0, 0.0, 0.0))
    assert loss(plain) == loss(Multilabel())

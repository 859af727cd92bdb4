"""Range priors: the published network, and the one fitted from places."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.data.selection import Selection
from hf_inatsounds.data.split_info import chosen_annotations
from hf_inatsounds.errors import GeoError
from hf_inatsounds.evaluation.measures import Bootstrap, geo_measures
from hf_inatsounds.geo import FittedPrior, Reweighting, SinrPrior, apply_prior, fit_prior, load_prior
from hf_inatsounds.geo.kernels import class_sums, likelihood_ratio, near, reach, unit_vectors, widths
from hf_inatsounds.scoring import FileScores


def space(*names):
    return LabelSpace(tuple(Taxon(name, "", "Aves", (*"ABCDEF", name), True) for name in names))


def two_regions(n=60, seed=0):
    """Class 0 in Europe, 1 in South America, 2 in both; 3 has a single recording."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    europe = np.where(labels == 2, generator.random(n) < 0.5, labels == 0)
    latitude = np.where(europe, 48, -15) + 4 * generator.standard_normal(n)
    longitude = np.where(europe, 10, -55) + 6 * generator.standard_normal(n)
    return np.append(latitude, 0.0), np.append(longitude, 100.0), np.append(labels, 3)


@pytest.fixture(scope="module")
def fitted():
    return fit_prior(*two_regions(), ["eu", "sa", "both", "lone", "none"])


def test_the_network_gives_the_authors_probabilities(golden, tmp_path):
    names = json.loads((golden / "sinr_names.json").read_text())
    expected = np.load(golden / "sinr_expected.npz")
    taxa = names["inat_id_to_scientific_name"]
    prior = SinrPrior.from_checkpoint(golden / "sinr_checkpoint.pt", taxa, names["categories"])
    found = prior(expected["latitude"], expected["longitude"])
    np.testing.assert_allclose(found, expected["probability"], atol=1e-5)
    assert (found[:, ~prior.known] == 1).all()
    assert 0 < prior.known.sum() < 40
    tensors = prior(torch.from_numpy(expected["latitude"]), torch.from_numpy(expected["longitude"]))
    np.testing.assert_allclose(tensors.numpy(), found)
    (tmp_path / "sinr.pt").write_bytes((golden / "sinr_checkpoint.pt").read_bytes())
    (tmp_path / "names.json").write_text(json.dumps(taxa))
    loaded = load_prior(tmp_path, space(*[one["name"] for one in names["categories"]]))
    np.testing.assert_allclose(loaded(expected["latitude"], expected["longitude"]), found)


def test_kernels_are_densities_on_the_sphere(fitted):
    generator = np.random.default_rng(0)
    points = generator.standard_normal((40_000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    latitude, longitude = np.rad2deg(np.arcsin(points[:, 2])), np.rad2deg(np.arctan2(points[:, 1], points[:, 0]))
    # r is a ratio of densities to that of all recordings: by b it integrates to 1, so over places drawn from b its
    # mean is 1; against uniform places weight it with b, which is the mean of the classes' densities
    counts = fitted.counts[fitted.known]
    sums = class_sums(unit_vectors(latitude, longitude), fitted.places, fitted.concentration, counts)
    np.testing.assert_allclose((sums / counts).mean(axis=0), 1.0, rtol=0.2)


def test_a_prior_knows_where_species_live_and_where_nobody_was(fitted):
    assert unit_vectors(fitted.likelihood(np.zeros(1), np.zeros(1))[:, 0], [0.0]).shape == (1, 3)
    here = fitted(np.array([48.0, -15.0, -75.0]), np.array([10.0, -55.0, 150.0]))
    europe, america, nowhere = here
    assert europe[0] > 0.6 > 0.1 > europe[1]
    assert america[1] > 0.6 > 0.1 > america[0]
    assert 0.3 < europe[2] < 0.7
    np.testing.assert_allclose(nowhere[:4], 0.5, atol=0.02)  # nothing was recorded there: no evidence
    assert (here[:, 4] == 1).all()  # no training place: unknown
    assert fitted.about["log_likelihood"] > fitted.about["log_likelihood_of_frequencies"] + 0.3


def test_widths_are_distances_to_neighbours_of_the_same_class():
    latitude, longitude, labels = two_regions(24)
    order = np.argsort(labels, kind="stable")
    points = unit_vectors(latitude[order], longitude[order])
    counts = np.bincount(labels)
    found = widths(points, counts)
    mine = points[:8]
    angles = np.sort(np.arccos(np.clip(mine @ mine.T, -1, 1)), axis=1)[:, 5]
    np.testing.assert_allclose(found[:8], angles, atol=1e-6)
    assert found[-1] == pytest.approx(np.median(found[:-1]))


def on_the_sphere(generator, n):
    """Places in clusters, at the poles, around the date line, and anywhere."""
    centres = np.array([[48.0, 10.0], [90.0, 0.0], [-90.0, 0.0], [0.0, 180.0], [38.0, -98.0]])
    place = centres[generator.integers(len(centres), size=n)] + generator.normal(0, 3, (n, 2))
    anywhere = generator.random(n) < 0.3
    place[anywhere] = generator.uniform((-90, -180), (90, 180), (anywhere.sum(), 2))
    return np.clip(place[:, 0], -90, 90), (place[:, 1] + 180) % 360 - 180


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(0, 150))
@settings(max_examples=25)
def test_what_near_kernels_say_is_what_all_of_them_say(seed, n, n_asked):
    generator = np.random.default_rng(seed)
    counts = np.append(np.bincount(generator.integers(7, size=n), minlength=7), 0)  # the last class is unknown
    width = np.clip(generator.lognormal(-3, 1.5, n), 1.5e-3, np.pi)  # 10 km to half around the earth
    places = unit_vectors(*on_the_sphere(generator, n)).astype(np.float32)
    prior = FittedPrior(tuple("abcdefgh"), places, (1 / width**2).astype(np.float32), counts, 0.1, {})
    latitude, longitude = on_the_sphere(generator, n_asked)
    known = prior.known
    sums = class_sums(unit_vectors(latitude, longitude), places, prior.concentration, counts[known])
    found = prior.likelihood(latitude, longitude)
    np.testing.assert_allclose(found[:, known], likelihood_ratio(sums, counts[known], 0.1), rtol=1e-6)
    assert (found[:, ~known] == 1).all()


def test_places_are_compared_with_those_around_them_alone():
    generator = np.random.default_rng(0)
    places, points = (unit_vectors(*on_the_sphere(generator, n)) for n in (4_000, 2_000))
    reaches = reach(np.full(len(places), 1 / 0.005**2))  # 32 km
    groups = list(near(points, places, reaches, most=32))
    assert sorted(np.concatenate([rows for rows, _ in groups])) == list(range(len(points)))
    assert sum(len(rows) * len(kernels) for rows, kernels in groups) < 0.2 * len(points) * len(places)


def test_a_prior_is_saved_and_found_again_by_names(fitted, tmp_path):
    path = tmp_path / "prior.safetensors"
    fitted.save(path)
    where = np.array([48.0]), np.array([10.0])
    np.testing.assert_array_equal(FittedPrior.load(path)(*where), fitted(*where))
    other = load_prior(path, space("sa", "unheard", "eu"))
    assert other.known.tolist() == [True, False, True]
    found = other(*where)[0]
    assert found[2] > 0.5 > found[0]
    assert found[1] == 1
    with pytest.raises(GeoError, match="knows none"):
        load_prior(path, space("a", "b"))


def test_scores_are_masked_or_reweighted_and_the_rest_renormalised():
    class Fixed:
        default_mode = "mask"
        known = np.ones(3, bool)

        def __call__(self, latitude, longitude):
            table = {0.0: [0.1, 0.11, 1.0], 1.0: [0.0, 0.0, 0.0]}
            return np.array([table[value] for value in latitude])

        likelihood = __call__

    scores = np.array([[0.5, 0.3, 0.2]] * 3, np.float32)
    place = np.array([[0.0, 0.0], [1.0, 0.0], [np.nan, 0.0]])
    masked, counts = apply_prior(Fixed(), scores, place, np.arange(3), Reweighting("mask", 0.1))
    np.testing.assert_allclose(masked[0], [0, 0.6, 0.4], atol=1e-6)
    np.testing.assert_allclose(masked[1:], scores[1:])  # no class left; no place known
    assert counts == {"with_place": 2, "without_place": 1, "left": 1}
    soft, _ = apply_prior(Fixed(), scores[:, 1:], place, np.array([1, 2]), Reweighting("soft", weight=2.0))
    expected = np.array([0.3 * 0.11**2, 0.2])
    np.testing.assert_allclose(soft[0], 0.5 * expected / expected.sum(), atol=1e-6)


def test_the_prior_of_train_places_helps_scores_that_know_little(animals):
    train = chosen_annotations(str(animals), Selection(), "train")
    rows = train.table
    held = chosen_annotations(str(animals), Selection(), "validation").table

    def numbers(table, name):
        return table[name].to_numpy().astype(np.float64)

    prior = fit_prior(
        numbers(rows, "latitude"), numbers(rows, "longitude"), rows["label"].to_numpy(), train.label_space.species
    )
    labels, classes = held["label"].to_numpy(), np.unique(held["label"].to_numpy())
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((len(labels), len(classes)))
    logits[np.arange(len(labels)), np.searchsorted(classes, labels)] += 1.0
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    place = np.stack([numbers(held, "latitude"), numbers(held, "longitude")], axis=1)
    place[3] = np.nan
    nothing = np.zeros(0, np.int64)
    files = FileScores(np.arange(len(labels)), labels, place, {"mean": scores}, classes, nothing, np.zeros((0, 2)),
                       nothing, nothing)  # fmt: skip
    for mode in ("soft", "mask"):
        found = geo_measures(files, train.label_space, prior, Reweighting(mode), Bootstrap(100))
        assert found["difference"]["map"]["value"] > 0.1
        assert found["difference"]["map"]["interval"][0] > 0
        assert found["recordings"]["without_place"] == 1


class Malicious:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"junk", "no usable range prior"),
        ("a.pt", b"junk", "no usable SINR checkpoint"),
        ("a.pt", pickle.dumps(Malicious(), protocol=2), "no usable SINR checkpoint"),
    ],
)
def test_broken_priors_are_one_line(tmp_path, name, content, message, capsys):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "names.json").write_text('{"1": "a"}')
    with pytest.raises(GeoError, match=message) as raised:
        load_prior(tmp_path / name, space("a"))
    assert "\n" not in str(raised.value)
    assert "unpickled" not in capsys.readouterr().out


def test_missing_or_contradicting_priors_are_one_line(fitted, tmp_path):
    with pytest.raises(GeoError, match="no such prior"):
        load_prior(tmp_path / "none.safetensors", space("a"))
    with pytest.raises(GeoError, match="not one prior"):
        load_prior(tmp_path, space("a"))
    torch.save({"state_dict": {}, "params": {"class_to_taxa": [1]}}, tmp_path / "b.pt")
    with pytest.raises(GeoError, match="no taxon names"):
        load_prior(tmp_path / "b.pt", space("a"))
    broken = FittedPrior(
        fitted.species, fitted.places, fitted.concentration, fitted.counts[::-1] * 2, fitted.smoothing, {}
    )
    broken.save(tmp_path / "c.safetensors")
    with pytest.raises(GeoError, match="counts that do not fit"):
        load_prior(tmp_path / "c.safetensors", space("a"))
    with pytest.raises(GeoError, match="too few places"):
        fit_prior(np.array([1.0, np.nan]), np.array([2.0, 3.0]), np.array([0, 1]), ["a", "b"])
    with pytest.raises(ValueError, match="mode must be"):
        Reweighting("hard")

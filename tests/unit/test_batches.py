import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hf_inatsounds.objectives import SAMPLINGS
from hf_inatsounds.training.averaging import WeightAverage
from hf_inatsounds.training.batches import GlobalBatches, Part, crop_loader
from hf_inatsounds.training.crops import RecordingList
from hf_inatsounds.training.learning import Schedule


class Numbers:
    """Rows that are nothing but their number, and that count how often they are read."""

    def __init__(self, n):
        self.n, self.read = n, []

    def __len__(self):
        return self.n

    def take(self, numbers):
        self.read += list(numbers)
        return [{"number": number} for number in numbers]

    def begin(self, numbers):
        pass

    def order(self, generator, step_items):
        return generator.permutation(self.n)

    def labels(self):
        return np.minimum(np.sqrt(np.arange(self.n)).astype(np.int64), 9)  # 1, 3, 5 … recordings a class


def batches(n, part, epoch=0, passed=0, seed=0, sampling="natural"):
    made = GlobalBatches(RecordingList(Numbers(n), sampling=sampling), n, part, seed=seed)
    made.set_epoch(epoch, passed)
    return made


@settings(max_examples=60)
@given(n=st.integers(1, 70), size=st.integers(1, 9), processes=st.integers(1, 5), epoch=st.integers(0, 3))
def test_every_recording_counts_exactly_once_an_epoch_on_any_number_of_processes(n, size, processes, epoch):
    parts = [list(batches(n, Part(size, process, processes), epoch)) for process in range(processes)]
    counted = [number for part in parts for batch in part for number, counts in batch if counts]
    assert sorted(counted) == list(range(n))
    assert {len(part) for part in parts} == {
        math.ceil(n / (size * processes))
    }  # nobody waits for a process that is done
    assert all(0 < len(batch) <= size for part in parts for batch in part)


@settings(max_examples=30)
@given(n=st.integers(1, 70), size=st.integers(1, 5), processes=st.integers(2, 4))
def test_a_global_batch_holds_the_same_recordings_on_any_number_of_processes(n, size, processes):
    alone = [{number for number, _ in batch} for batch in batches(n, Part(size * processes))]
    many = zip(*(batches(n, Part(size, process, processes)) for process in range(processes)), strict=True)
    assert [{number for batch in step for number, counts in batch if counts} for step in many] == alone


def test_seed_and_epoch_decide_on_the_order():
    def order(seed, epoch):
        return [number for batch in batches(50, Part(4), epoch, seed=seed) for number, _ in batch]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@pytest.mark.parametrize("sampling", SAMPLINGS[1:])
def test_classes_are_drawn_as_often_as_their_weights_say(sampling):
    n, labels = 1000, Numbers(1000).labels()
    drawn = [
        number for epoch in range(5) for batch in batches(n, Part(8), epoch, sampling=sampling) for number, _ in batch
    ]
    assert len(drawn) == 5 * n
    counts = np.bincount(labels[np.array(drawn) % n], minlength=10)
    n_of = np.bincount(labels)
    shares = {
        "square-root": n_of**0.5, "class-balanced": n_of * (1 - 0.999) / (1 - 0.999**n_of), "uniform": n_of**0,
    }[sampling]  # fmt: skip
    assert stats.chisquare(counts, 5 * n * shares / shares.sum()).pvalue > 0.01
    assert stats.chisquare(counts, 5 * n * n_of / n_of.sum()).pvalue < 1e-6  # not the natural shares
    within = np.bincount(np.array(drawn) % n, minlength=n)[labels == 9]
    assert stats.chisquare(within).pvalue > 0.01  # any recording of a class as often as the others


@pytest.mark.parametrize("sampling", ["square-root", "uniform"])
def test_draws_do_not_depend_on_the_number_of_processes_or_on_where_a_run_goes_on(sampling):
    alone = [[number for number, _ in batch] for batch in batches(30, Part(6), 2, sampling=sampling)]
    assert sum(map(len, alone)) == 30
    two = zip(*(batches(30, Part(3, process, 2), 2, sampling=sampling) for process in (0, 1)), strict=True)
    assert [[number for batch in step for number, _ in batch] for step in two] == alone
    resumed = list(batches(30, Part(6), 2, passed=3, sampling=sampling))
    assert [[number for number, _ in batch] for batch in resumed[3:]] == alone[3:]


def test_each_draw_of_a_recording_is_one_of_its_own():
    made = batches(30, Part(6), sampling="uniform")
    numbers = [number for batch in made for number, _ in batch]
    assert len(set(numbers)) == len(numbers)
    rows = made.rows.__getitems__(numbers)
    again = [row for row in rows if row["number"] == 0]
    assert [row["repetition"] for row in again] == list(range(len(again)))
    assert len(again) > 1


def test_what_a_resumed_run_has_seen_is_not_read():
    def collate(rows):
        return {"numbers": [row["number"] for row in rows], "weights": torch.ones(len(rows))}

    def loader(passed):
        made = batches(20, Part(4), epoch=1, passed=passed)
        return made, crop_loader(made, collate, workers=0, pin_memory=False)

    _, whole = loader(0)
    expected = [batch["numbers"] for batch in whole]
    made, cut = loader(3)
    from accelerate import skip_first_batches

    assert [batch["numbers"] for batch in skip_first_batches(cut, 3)] == expected[3:]
    assert len(made.rows.rows.read) == 8


def test_a_filler_has_no_weight():
    def collate(rows):
        return {"weights": torch.ones(2 * len(rows))}  # two crops a recording

    last = list(crop_loader(batches(5, Part(2, 1, 2)), collate, workers=0, pin_memory=False))[-1]
    assert last["weights"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_the_schedule_is_torchs_where_torch_has_it(kind):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, total_iters=5)
    if kind == "cosine":
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 45, eta_min=0.1)
    else:
        fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=45)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, fall], [5])
    expected = []
    for _ in range(51):
        expected.append(both.get_last_lr()[0])
        optimizer.step()
        both.step()
    schedule = Schedule(kind, 5, 50, start_share=0.1, end_share=0.1)
    np.testing.assert_allclose([schedule(step) for step in range(51)], expected, atol=1e-9)


def test_the_average_follows_its_formula_and_leaves_the_model_as_it_was():
    model = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model, 0.5)
    expected = 0.0
    for step in range(1, 6):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied():
        torch.testing.assert_close(model.weight, torch.full((1, 2), expected))
    assert model.weight.tolist() == [[5.0, 5.0]]


def test_the_average_is_of_statistics_too_and_goes_on_from_what_was_saved():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    average = WeightAverage(model, 0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        model(torch.randn(4, 2, generator=generator))
        average.update()
    assert average.average.keys() == {name for name in model.state_dict() if "num_batches" not in name}
    assert not torch.equal(average.average["1.running_mean"], model[1].running_mean)
    other = WeightAverage(model, 0.9)
    other.load({name: tensor.clone() for name, tensor in average.average.items()}, average.steps)
    model(torch.randn(4, 2, generator=generator))
    for one in (average, other):
        one.update()
    for name, tensor in average.average.items():
        torch.testing.assert_close(other.average[name], tensor, rtol=0, atol=0)

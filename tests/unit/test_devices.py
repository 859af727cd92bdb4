"""Devices that this machine lacks: chosen, refused and worked around by what it is told of them."""

import numpy as np
import pytest
import torch

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import InatSoundsError
from hf_inatsounds.frontends import AstFrontend
from hf_inatsounds.models.classifier import Classifier, pad_batch
from hf_inatsounds.objectives import objective_of
from hf_inatsounds.runtime import devices
from hf_inatsounds.runtime.devices import choose_device, choose_dtype, frontend_device


def having(monkeypatch, **counts):
    """This machine, with so many devices of each kind and no others."""
    monkeypatch.setattr(devices, "is_available", lambda kind: kind == "cpu" or counts.get(kind, 0) > 0)
    monkeypatch.setattr(devices, "device_count", lambda kind: 1 if kind == "cpu" else counts.get(kind, 0))


@pytest.mark.parametrize(
    ("counts", "wanted", "expected"),
    [
        ({}, None, "cpu"), ({"mps": 1}, "auto", "mps"), ({"xpu": 2, "mps": 1}, None, "xpu"),
        ({"cuda": 2, "xpu": 1, "mps": 1}, None, "cuda"), ({"cuda": 2}, "cpu", "cpu"), ({"cuda": 2}, "cuda:1", "cuda:1"),
        ({"mps": 1}, "mps", "mps"), ({"cuda": 1}, torch.device("cuda"), "cuda"),
    ],
)  # fmt: skip
def test_the_best_device_or_the_one_asked_for(monkeypatch, counts, wanted, expected):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    having(monkeypatch, **counts)
    assert choose_device(wanted) == torch.device(expected)


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch):
    having(monkeypatch, cuda=2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1")
    having(monkeypatch)
    assert choose_device(None) == torch.device("cpu")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "xpu", "mps", "gpu", "tpu", "cuda:x", "", "meta"])
def test_a_device_that_is_not_there_is_one_line(monkeypatch, wanted):
    having(monkeypatch)
    with pytest.raises(InatSoundsError, match=r"^(no such device|the device is not there): device: found .*") as raised:
        choose_device(wanted)
    assert "\n" not in str(raised.value)


def test_a_number_that_is_too_high_is_one_line(monkeypatch):
    having(monkeypatch, cuda=2)
    with pytest.raises(InatSoundsError, match="the device is not there: device: found 'cuda:2'"):
        choose_device("cuda:2")


def test_a_precision_that_is_none_is_one_line():
    with pytest.raises(InatSoundsError, match="no such precision: dtype: found 'int8'"):
        choose_dtype("int8")


class _Seen(torch.nn.Module):
    """Stands for a model on a device without float64: torch's meta device, which computes shapes alone."""

    device = torch.device("meta")

    def forward(self, **inputs):
        self.inputs = inputs


def test_where_float64_is_missing_the_frontend_stays_on_the_cpu(monkeypatch):
    """No MPS here: the meta device is declared to lack float64, and the frontend's input would be lost on it."""
    monkeypatch.setattr(devices, "lacks_float64", lambda device: device.type == "meta")
    frontend = AstFrontend()
    waveforms, lengths = pad_batch([np.random.default_rng(0).standard_normal(16_000).astype(np.float32)])
    seen = []
    monkeypatch.setattr(AstFrontend, "forward", lambda self, x, n: seen.append((x.device.type, n.device.type)) or x)
    classifier = Classifier(_Seen(), None, frontend, None, objective_of(None), WindowSpec(1.0, 1.0))
    inputs = classifier.inputs(waveforms.to("cpu"), lengths)
    assert seen == [("cpu", "cpu")]
    assert {one.device.type for one in inputs.values()} == {"meta"}
    assert frontend_device(torch.device("meta")) == torch.device("cpu")
    assert frontend_device(torch.device("cpu")) == torch.device("cpu")

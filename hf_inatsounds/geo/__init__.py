"""Range priors: where a species is to be expected, and what that does to its scores."""

from __future__ import annotations

from hf_inatsounds.geo.apply import GeoPrior, Reweighting, apply_prior, load_prior
from hf_inatsounds.geo.fitted import FittedPrior, fit_prior
from hf_inatsounds.geo.sinr import SinrPrior

__all__ = ["FittedPrior", "GeoPrior", "Reweighting", "SinrPrior", "apply_prior", "fit_prior", "load_prior"]

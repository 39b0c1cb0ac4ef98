"""Normalising flows: the conditional one of the neural posterior, and those refitted to weighted points."""

from __future__ import annotations

from xsixsa.inference.neural import FlowProposal, NeuralPosterior
from xsixsa.inference.training import FlowOptions
from xsixsa.inference.whitened import WhitenedFlow

__all__ = ["FlowOptions", "FlowProposal", "NeuralPosterior", "WhitenedFlow"]

"""Choices of a training by name. Needs no torch, so that a command line is parsed at once."""

from typing import Literal

NetworkName = Literal["grid-cnn", "crop-cnn", "attention-mil", "pooled-linear"]
"""The networks of a patient model, see `nic.patients.networks`."""
Ties = Literal["efron", "breslow"]
"""How Cox takes deaths at one time."""
CohortPart = Literal["train", "external", "cross_validated"]
"""Which patients of a cohort are measured. cross_validated: those of training, each by networks that never saw them."""

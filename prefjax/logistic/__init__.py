"""Logistic MAP of one user's weights, the solve that adaptation, elicitation and families reuse."""

from prefjax.logistic.blocks import fit
from prefjax.logistic.newton import DEFAULT, LogisticFit, NewtonConfig, Status

__all__ = ["DEFAULT", "LogisticFit", "NewtonConfig", "Status", "fit"]

"""Modules that take the place of the same ones in stages/ where the subject of a test is DVC or Optuna, not training.

The value of a training is a formula of its parameters, so that a test knows what is best.
"""

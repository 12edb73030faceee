"""Recipes: published experiments, repeated with this package's own parts."""

from neurarium.recipes.reproduction import Recipe, Reproduction, find, recipe, run

__all__ = ["Recipe", "Reproduction", "find", "recipe", "run"]

"""What a run does, as a YAML file."""

from distilrec.recipe.files import read_recipe, write_recipe
from distilrec.recipe.own_data import recipe_for
from distilrec.recipe.parts import Alone, Auto, Chosen, Control, Distilled, Joint, Member, Record, Smallest, Student
from distilrec.recipe.schema import Recipe

__all__ = [
    "Alone", "Auto", "Chosen", "Control", "Distilled", "Joint", "Member", "Recipe", "Record", "Smallest",
    "Student", "read_recipe", "recipe_for", "write_recipe",
]  # fmt: skip

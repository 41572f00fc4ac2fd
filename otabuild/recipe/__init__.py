"""YAML recipes to validated models."""

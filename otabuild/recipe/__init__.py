"""Turns YAML recipes into validated models."""

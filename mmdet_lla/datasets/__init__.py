"""Crowd scenes: the generator, and datasets that read crowd annotations."""

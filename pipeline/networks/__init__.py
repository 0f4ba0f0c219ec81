"""Backbones, heads and the reconstructor."""

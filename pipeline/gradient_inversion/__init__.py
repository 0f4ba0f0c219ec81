"""Gradient inversion: the training images behind the gradient of one step of a known network."""

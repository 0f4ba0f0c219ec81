"""The reconstructor: its loss, its training loop and its stream of shadow models."""

"""Inverting a head: from its first layer's weights to the features of the images that trained it."""

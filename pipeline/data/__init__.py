"""Data sets as (images, labels), and the permutations that deal them to shadow models."""

"""Scores of reconstructions, the laws they are compared with, and the rates and pictures drawn from them."""

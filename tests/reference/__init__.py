"""Methods written out plainly: what tests hold the fast ones against, and benchmarks time them against."""

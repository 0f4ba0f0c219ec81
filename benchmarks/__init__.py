"""One script per performance claim: python -m benchmarks.<name>."""

"""Programs of under 40 lines that use the library; tests/test_examples.py runs each."""

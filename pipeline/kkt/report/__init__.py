"""The part of a report that a KKT attack fills."""

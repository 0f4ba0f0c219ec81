"""The page, tables and pictures in which an experiment's results are read."""

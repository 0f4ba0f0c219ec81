"""The science and the file format. Knows no stage and no scheduler."""

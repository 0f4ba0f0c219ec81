"""KKT attacks: training data from the stationarity of a trained network (arXiv 2206.07758, 2307.01827)."""

"""What is measured of neural stochastic differential equations: a file a benchmark."""

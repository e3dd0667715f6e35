"""What is measured of neural differential equations: a file a benchmark."""

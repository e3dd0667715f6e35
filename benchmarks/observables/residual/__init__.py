"""What is measured of residual networks: a file a benchmark."""

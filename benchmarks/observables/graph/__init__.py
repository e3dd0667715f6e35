"""What is measured of graph networks: a file a benchmark."""

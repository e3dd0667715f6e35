"""What is measured along the training of sparse networks: a file a benchmark."""

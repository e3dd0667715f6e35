"""What is measured along the training of mean-field networks: a file a benchmark."""

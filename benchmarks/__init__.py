"""The benchmark harness: configurations in, verdicts on the papers' claims out."""

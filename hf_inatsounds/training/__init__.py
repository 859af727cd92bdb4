"""Training: a recipe, a stream of crops, and transformers' Trainer around both."""

"""Using a model: prediction and embeddings of recordings of any length."""

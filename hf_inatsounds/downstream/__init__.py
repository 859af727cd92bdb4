"""Downstream benchmarks: other people's suites, probes on embeddings, zero-shot transfer, fine-tuning."""

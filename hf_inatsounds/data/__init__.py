"""The dataset: annotations, labels, and rows from archives, indexes, folders and mirrors."""

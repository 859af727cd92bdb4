"""A mirror that plain ``datasets.load_dataset`` reads: Parquet shards, annotations and a card."""

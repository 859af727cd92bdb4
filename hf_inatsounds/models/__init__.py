"""A classifier: checkpoint, head, input length, labels and frontend; and presets."""

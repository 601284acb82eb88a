"""Time and memory, measured side by side with the reference recipe: `python -m benchmarks`."""

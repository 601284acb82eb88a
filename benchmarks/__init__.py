"""How fast and how big, side by side with the reference recipe: `python -m benchmarks`."""

"""Search for settings of forgetting: trials, workers, the Pareto front, the final choice."""

"""Entry points as jobs of a scheduler, through submitit. Nothing here is imported before it is asked for."""

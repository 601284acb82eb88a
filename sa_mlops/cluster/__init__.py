"""Entry points as jobs of a scheduler, through submitit, which is imported only on submission."""

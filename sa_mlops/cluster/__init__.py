"""Entry points as jobs of a scheduler, through submitit. submitit is imported only to submit."""

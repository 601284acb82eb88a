"""Methods of forgetting, one module each (`interface`), and hardening, a second phase after any of them."""

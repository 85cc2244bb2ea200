"""Between front ends and ops: environment, places, secrets, opened sessions. The only layer that reads configuration and the environment."""

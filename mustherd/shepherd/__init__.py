"""The shepherd: the one central process. It listens, knows who is in the herd, and carries out what a policy wants."""

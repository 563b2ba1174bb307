"""The shepherd: the one central process. It listens, keeps the herd's book, and carries out what a policy wants."""

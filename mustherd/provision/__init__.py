"""From bare nodes to a herd: inventories, playbooks run from Python, and channels to single nodes."""

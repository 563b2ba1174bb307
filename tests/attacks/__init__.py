"""What was done to real herds and must do no harm again: docs/explain/attacks.md says which test stands for what."""

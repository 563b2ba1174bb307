"""Rows of logs: parsed, made durable, accounted for, and read back."""

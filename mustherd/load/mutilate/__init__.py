"""mutilate: its command lines, its output, and a load that it offers (github.com/leverich/mutilate and its forks)."""

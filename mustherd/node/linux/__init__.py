"""A Linux machine as a node: its knobs, energy counters and facts.

Everything below /sys, /proc and /dev is reached through a `tree.Tree`, whose root is a parameter, and everything that
the kernel answers over ethtool through the protocol `ethtool.Ethtool`; nothing else in here touches the machine.
"""

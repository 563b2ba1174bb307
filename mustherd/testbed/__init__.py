"""Hosts to rehearse a herd on: containers with systemd and sshd on one machine, in a network of their own."""

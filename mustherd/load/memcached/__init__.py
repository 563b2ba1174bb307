"""memcached as the server under load."""

from mustherd.load.server import free_port

__all__ = ["free_port"]

"""memcached as the server under load."""

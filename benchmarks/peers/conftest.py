"""Peer scripts can be imported only where their libraries are, so pytest doesn't look for doctests in them."""

collect_ignore_glob = ["*_*.py"]

"""DistilRec."""

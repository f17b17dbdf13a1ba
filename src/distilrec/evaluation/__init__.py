"""Comparing arms: paired statistics, agreement, slices and cost."""

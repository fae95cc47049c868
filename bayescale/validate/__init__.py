"""Whole experiments: does what the package says hold on runs that it has not seen."""

"""meshproof: does my multi-cluster network keep its promises?"""

__version__ = "0.1.0"

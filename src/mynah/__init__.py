"""A network's own posts, turned into an assistant, a search box and an ad server it owns."""

__version__ = "0.1.0"
__all__ = ["__version__"]

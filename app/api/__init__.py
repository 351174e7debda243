"""The routes: thin handlers over the use-cases."""

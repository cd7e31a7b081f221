"""What runs samples through a network: executors, the search for the fastest, recorded work, and whether rows agree."""

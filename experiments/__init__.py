"""One module for each figure or table; imports prefjax, never another experiment."""

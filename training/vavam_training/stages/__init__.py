"""What is trained: each stage builds a module, says which parameters learn, and has a loss."""

"""What is possible here, what it costs, what to choose."""

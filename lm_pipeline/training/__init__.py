"""One training loop, exact to the bit."""

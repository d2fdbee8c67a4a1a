"""What tests lean on: real servers and the clocks and clients around them."""

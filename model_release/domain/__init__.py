"""What is decided and how, without a clock, the network or the environment."""

"""What requests cost: rates at batch price, and the usage of each answer."""

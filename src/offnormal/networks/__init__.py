"""Builders of networks: `(sizes, …) -> nn.Module`. No losses, no methods."""

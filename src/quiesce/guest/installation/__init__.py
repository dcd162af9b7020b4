"""Put hooks, units and templates in place, and take them back."""

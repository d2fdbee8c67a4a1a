"""What people are told: crossings and other news, recorded once, and brought to them by every way they chose."""

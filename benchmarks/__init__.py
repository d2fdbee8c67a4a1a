"""What Tollgate costs, beside two other proxies that do less, under the same load in the same run."""

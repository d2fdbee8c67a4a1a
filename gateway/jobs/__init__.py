"""What is done by the clock: rows in Postgres, each done once, whatever the number of gateways."""

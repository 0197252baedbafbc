"""Gold: built by dbt in this process, with what customers will be worth, and checks with history."""

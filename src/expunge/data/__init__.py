"""From what users have to records with ids."""

"""The ledger: a seeded community lives through faults, and a judge who saw only its log says whether every promise held."""

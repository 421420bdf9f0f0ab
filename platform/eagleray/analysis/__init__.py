"""What results say: tables, ablations, spread over seeds, what fell."""

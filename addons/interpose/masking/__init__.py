"""What must stand in no copy of a call, and how it is taken out: whole values, and ones that were torn apart."""

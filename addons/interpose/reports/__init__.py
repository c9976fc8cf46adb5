"""Reports as pages: one HTML file each, with charts, which asks nobody for anything. The sums are the ledger's."""

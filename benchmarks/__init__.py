"""Speed, measured side by side: `make bench`. Each row is a ratio within one run; results.json keeps them."""

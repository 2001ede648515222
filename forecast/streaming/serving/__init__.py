"""A stream behind a server on HTTP: what feeds/http.py is made of."""

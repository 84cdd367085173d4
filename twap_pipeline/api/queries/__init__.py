"""What the query side asks of the tables, one module per subject; each function returns a statement and runs nothing.

Rows come back as JSON text that PostgreSQL wrote: a decimal keeps every digit, a raw payload every byte. Here belongs
what is asked. Who may ask, and in which words, is the API's.
"""

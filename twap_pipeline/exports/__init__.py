"""Export files of a wallet's orders and their fills, for the API and the command line.

`formats` lists the formats, `rows` selects the rows, and one module per format writes them. The caller delivers the
file.
"""

"""Export files of a wallet's orders and their fills, for the API and the command line.

`formats` lists the formats, `order_rows` and `fill_rows` select the rows, and one module per format writes them. The
caller delivers the file.
"""

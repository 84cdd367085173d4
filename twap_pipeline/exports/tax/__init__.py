"""Files for tax tools: executed spot orders as trades.

`tools` describes the file of each tool as data, `trade` converts an order, `review` finds the orders that cannot be
converted before the file begins, and `writer` writes every file. To add a tool, add its description to `tools.TOOLS`.
"""

"""Files for tax tools: spot trades, and the realized profit of perpetuals.

`tools` describes the file of each tool as data. `trade` converts an order and `execution` fills to an `entry`;
`queries` reads the fills. `review` finds the orders that cannot be written before the file begins, `writer` writes
every file, and `statement` lists what reconciles. To add a tool, add its description to `tools.TOOLS`.
"""

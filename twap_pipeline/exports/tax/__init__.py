"""Files for tax tools: spot trades, and the realized profit of perpetuals.

`tools` describes the file of each tool as data. `order_entries` and `fill_entries` convert orders and fills to entries;
`queries` reads the fills. `review` finds the orders that cannot be written before the file begins, `writer` writes
every file, and `statement` lists what reconciles. To add a tool, add its description to `tools.TOOLS`.
"""

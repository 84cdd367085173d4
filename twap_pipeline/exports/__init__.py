"""Files of a wallet's orders: the formats, the rows they are made of, and their writers."""

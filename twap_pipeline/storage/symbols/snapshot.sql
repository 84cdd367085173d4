-- The names of the main spot pairs, for databases that cannot query the exchange: every pair with a volume above
-- 20,000 USD on the day of the source, and every pair with another quote than USDC.
-- Source: the exchange's response to spotMetaAndAssetCtxs of 2025-11-09 17:01:54 UTC, recorded in its own Python SDK:
-- github.com/hyperliquid-dex/hyperliquid-python-sdk, commit d058efabc6605f46ffe2360f2775b3885e9cea59, file
-- tests/cassettes/info_test/test_spot_asset_ctx.yaml. `twap-pipeline symbols refresh` adds all other pairs.

-- name: insert_snapshot
-- Inserts the names, except of pairs whose first names are recorded already.
INSERT INTO spot_pairs (pair_index, base, quote, valid_from, source)
SELECT pair_index, base, quote, '1970-01-01 00:00+00', 'snapshot of 2025-11-09'
FROM (VALUES
  (0, 'PURR', 'USDC'),
  (1, 'HFUN', 'USDC'),
  (107, 'HYPE', 'USDC'),
  (142, 'UBTC', 'USDC'),
  (150, 'USDE', 'USDC'),
  (151, 'UETH', 'USDC'),
  (153, 'FEUSD', 'USDC'),
  (156, 'USOL', 'USDC'),
  (162, 'UFART', 'USDC'),
  (166, 'USDT0', 'USDC'),
  (180, 'USDHL', 'USDC'),
  (182, 'XAUT0', 'USDC'),
  (184, 'HPENGU', 'USDC'),
  (188, 'UPUMP', 'USDC'),
  (193, 'UUUSPX', 'USDC'),
  (194, 'UBONK', 'USDC'),
  (198, 'WOULD', 'USDC'),
  (207, 'HYPE', 'USDT0'),
  (209, 'XAUT0', 'USDT0'),
  (210, 'UXPL', 'USDC'),
  (212, 'LINK0', 'USDT0'),
  (223, 'PUP', 'USDC'),
  (230, 'USDH', 'USDC'),
  (232, 'HYPE', 'USDH'),
  (233, 'UXPL', 'USDH'),
  (234, 'UBTC', 'USDH'),
  (235, 'UETH', 'USDH'),
  (244, 'USDXL', 'USDT0'),
  (248, 'BZEC', 'USDC')
) AS pair (pair_index, base, quote)
ON CONFLICT DO NOTHING;

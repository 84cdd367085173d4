-- name: content_checksum
-- Two sums of halves of each row's MD5: commutative, so the order of the rows does not matter.
SELECT lpad(to_hex(coalesce(sum(('x' || substr(row_md5, 1, 8))::bit(32)::bigint), 0)::bigint), 16, '0')
  || lpad(to_hex(coalesce(sum(('x' || substr(row_md5, 9, 8))::bit(32)::bigint), 0)::bigint), 16, '0')
FROM (
  SELECT md5(row(
    twap_id, wallet, extract(epoch FROM ts), asset, side, size_requested::text, size_executed::text,
    notional_executed::text, status, duration_minutes::text, extract(epoch FROM started_at), status_error,
    reduce_only::text, randomize::text, raw_payload::text
  )::text) AS row_md5
  FROM twap_status
) AS digests;

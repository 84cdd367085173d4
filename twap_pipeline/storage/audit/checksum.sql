-- name: content_checksum
-- {values}: the key and content columns. Two sums of halves of each row's MD5: commutative, so the order of the rows does not matter.
SELECT lpad(to_hex(coalesce(sum(('x' || substr(row_md5, 1, 8))::bit(32)::bigint), 0)::bigint), 16, '0')
  || lpad(to_hex(coalesce(sum(('x' || substr(row_md5, 9, 8))::bit(32)::bigint), 0)::bigint), 16, '0')
FROM (
  SELECT md5(row({values})::text) AS row_md5
  FROM twap_status
) AS digests;

import { decodePage, type ScanPage } from '../../src/replication/scan-wire.ts'

/** A page with its rows as objects, as it was encoded. */
export function pageOf(body: Uint8Array): ScanPage {
  const { rows, ...page } = decodePage(body)
  const all = Array.from({ length: rows.length }, (_, row) => ({
    key: rows.keyAt(row),
    record: rows.recordAt(row),
    isHead: rows.isHead(row)
  }))
  return { ...page, rows: all }
}

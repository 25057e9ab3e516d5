import { decodePage, type ScanPage } from '../../src/replication/scan-wire.ts'

/** A page with its rows as objects, as it was encoded. */
export function pageOf(body: Uint8Array): ScanPage {
  const page = decodePage(body)
  return { ...page, rows: [...page.rows] }
}

import type { BackendRows } from '../../src/node/backend.ts'
import type { RecordBytes } from '../../src/model/record.ts'
import { decodePage, encodePage, type ScanPage } from '../../src/replication/scan-wire.ts'
import { PackedRows } from '../../src/codec/packed-rows.ts'

/** One record as a node has it; of some the head alone. */
export interface ScanRow {
  readonly key: Uint8Array
  /** `undefined` when it is damaged there. */
  readonly record: RecordBytes | undefined
  /** Whether the value was left out. */
  readonly isHead: boolean
}

/** A page with its rows as objects. */
export type PageOfObjects = Omit<ScanPage, 'rows'> & { readonly rows: readonly ScanRow[] }

/** Rows as a page has them. */
export function packed(rows: readonly ScanRow[]): PackedRows {
  const all = PackedRows.gather()
  for (const { key, record, isHead } of rows) all.append(key, 0, record, isHead)
  return all
}

/** The same rows as objects. */
export function unpacked(rows: PackedRows): readonly ScanRow[] {
  return Array.from({ length: rows.length }, (_, row) => ({
    key: rows.keyAt(row),
    record: rows.recordAt(row),
    isHead: rows.isHead(row)
  }))
}

/** A page as it travels. */
export function bytesOf({ rows, ...page }: PageOfObjects): Uint8Array {
  return encodePage({ ...page, rows: packed(rows) })
}

/** A page with its rows as objects, as it was encoded. */
export function pageOf(body: Uint8Array): PageOfObjects {
  const { rows, ...page } = decodePage(body)
  return { ...page, rows: unpacked(rows) }
}

/** What a scan hands to a keyspace. */
export function found(entries: readonly { readonly key: Uint8Array; readonly record: RecordBytes }[]): BackendRows {
  return { length: entries.length, keyAt: row => entries[row]!.key, recordAt: row => entries[row]!.record }
}

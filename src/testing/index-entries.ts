import { fromUtf8, toHex } from '../base/bytes.ts'
import { encodeIndexValue, type IndexValue } from '../model/index-value.ts'
import { ALL_KEYS } from '../model/key-range.ts'
import { recordValue } from '../model/record.ts'
import { dataRange, indexEntryKey, indexEntryRange, indexRange, keyOf, keyspaceOf } from '../storage/key-layout.ts'
import { readIndex } from '../storage/stored-index.ts'
import { intactRecord } from './rot.ts'
import type { SimDisk } from './sim-disk.ts'

/**
 * What is wrong with the entries on the disk of a node whose only index, of the default keyspace, is ready and makes these values;
 * `undefined` when they are those of its records, and no others.
 */
export function entriesProblem(
  disk: SimDisk,
  partitions: number,
  valuesOf: (value: unknown) => readonly IndexValue[]
): string | undefined {
  const known = disk.keys(indexRange()).map(key => readIndex(key, disk.get(key)!, partitions))
  const [first] = known
  if (first?.index === undefined || known.length > 1) return `holds ${known.length} indexes, and not one`
  const held = new Set(disk.keys(indexEntryRange(first.id, ALL_KEYS)).map(toHex))
  let missing = 0
  for (const storeKey of disk.keys(dataRange())) {
    const record = intactRecord(disk, storeKey)
    const value = record && recordValue(record)
    if (value === undefined || keyspaceOf(storeKey).length > 0) continue
    for (const index of valuesOf(JSON.parse(fromUtf8(value)))) {
      if (!held.delete(toHex(indexEntryKey(first.id, encodeIndexValue(index), keyOf(storeKey))))) missing++
    }
  }
  if (missing + held.size === 0) return undefined
  return `lacks ${missing} entries of its records, and holds ${held.size} of nothing`
}

import type { RecordBytes } from '../model/record.ts'
import { dataRange } from '../storage/key-layout.ts'
import { formFor } from '../storage/record-form.ts'
import type { SimDisk } from './sim-disk.ts'

/** The record under a key of the store, or nothing when there is none or it is damaged. */
export function intactRecord(disk: SimDisk, storeKey: Uint8Array): RecordBytes | undefined {
  const value = disk.get(storeKey)
  try {
    return value && formFor(disk.options).open(storeKey, value)
  } catch {
    return undefined
  }
}

/**
 * Flips a bit of a record on a disk, of those that are damaged on no disk yet: of three copies one may be lost at a time, and
 * more is promised to nobody. Nothing is done when there is none.
 */
export function rot(disk: SimDisk, others: readonly SimDisk[], pick: number): void {
  const isDamaged = (other: SimDisk, storeKey: Uint8Array): boolean =>
    other.get(storeKey) !== undefined && intactRecord(other, storeKey) === undefined
  const all = [disk, ...others]
  const whole = disk.keys(dataRange()).filter(storeKey => !all.some(other => isDamaged(other, storeKey)))
  if (whole.length > 0) disk.flip(whole[pick % whole.length]!, pick)
}

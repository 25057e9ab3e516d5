import { compareRecordStamps, type RecordBytes, recordStamp } from '../../model/record.ts'
import type { Violation } from './violation.ts'

/** What is seen of some keys in one place at one moment: on a disk, or by one read. */
export interface UnitPicture {
  readonly where: string
  /** The record of each key that has one, deletions included. */
  readonly held: ReadonlyMap<string, RecordBytes>
}

/** Name of the promise. */
export const UNIT_RULE = 'a copy shows all of a unit or nothing'

/**
 * Checks that nobody sees a part of a unit that was not overwritten by something newer: where one of its writes is seen,
 * each of the others is, or something stamped later.
 *
 * @param valueOf - what was written, as text, which names the unit; `undefined` for a deletion
 * @param unitOf - the keys of the unit that has written a value
 */
export function checkUnits(
  { where, held }: UnitPicture,
  valueOf: (record: RecordBytes) => string | undefined,
  unitOf: (value: string) => readonly string[] | undefined
): Violation[] {
  const violations: Violation[] = []
  for (const [key, record] of held) {
    const value = valueOf(record)
    const keys = value === undefined ? undefined : unitOf(value)
    for (const other of keys ?? []) {
      const beside = held.get(other)
      if (beside !== undefined && compareRecordStamps(beside, record) >= 0) continue
      const there =
        beside === undefined ? 'nothing' : `${valueOf(beside) ?? 'a deletion'} of ${recordStamp(beside).hlc}`
      violations.push({
        rule: UNIT_RULE,
        message: `${where}: ${key} has ${value} of ${recordStamp(record).hlc}, and ${other} has ${there}`
      })
    }
  }
  return violations
}

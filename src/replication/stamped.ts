import { copyBytes, equalBytes } from '../base/bytes.ts'
import { expiryOf } from '../model/expiry.ts'
import { encodeRecord, type RecordBytes, recordStamp, recordValue } from '../model/record.ts'
import { claimOn, type Stamp, successorOf } from '../model/stamp.ts'
import type { StampSource } from '../storage/record-store.ts'

/** One write of several; without a value it deletes. */
export interface WriteOf {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  /** How long the value lives, ms from its stamp. Absent: for ever. */
  readonly ttl?: number | undefined
}

/** A write that is made of what was read. */
export interface PlannedWrite {
  /** The value; `undefined` deletes. */
  readonly value: Uint8Array | undefined
  /** Unix ms at which it ends, when the call names no time to live; `undefined` for never. */
  readonly expiresAt: number | undefined
  /**
   * The record that it follows: it takes the place of that one, and of nothing that was stamped later. It is what a quorum
   * holds, or it could take the place of something later when its own stamp has to be moved (rule H1).
   */
  readonly after?: RecordBytes
}

/** The record of a write; one that deletes has no expiry. */
export function recordOf(stamp: Stamp, value: Uint8Array | undefined, ttl: number | undefined): RecordBytes {
  return encodeRecord({ stamp, value, expiresAt: value === undefined ? undefined : expiryOf(stamp.hlc, ttl) })
}

/** The records of several writes, each with a stamp of its own; the values are copied before this returns. */
export function recordsOf(
  writes: readonly WriteOf[],
  stamps: StampSource
): readonly RecordBytes[] | Promise<readonly RecordBytes[]> {
  const records: RecordBytes[] = []
  for (const { value, ttl } of writes) {
    const stamp = stamps.next()
    if (stamp instanceof Promise) return recordsLater(writes.slice(records.length), records, stamp, stamps)
    records.push(recordOf(stamp, value, ttl))
  }
  return records
}

/** The caller's memory is the caller's again as soon as it is waited for anything. */
async function recordsLater(
  rest: readonly WriteOf[],
  records: RecordBytes[],
  first: Promise<Stamp>,
  stamps: StampSource
): Promise<readonly RecordBytes[]> {
  const own = rest.map(({ value, ttl }) => ({ value: value && copyBytes(value), ttl }))
  for (const [i, { value, ttl }] of own.entries()) {
    records.push(recordOf(await (i === 0 ? first : stamps.next()), value, ttl))
  }
  return records
}

/** The record of a planned write; the value is copied before this returns. */
export async function plannedRecord(
  { value, expiresAt, after }: PlannedWrite,
  ttl: number | undefined,
  stamps: StampSource
): Promise<RecordBytes> {
  const own = value && copyBytes(value)
  const stamp = await stampOf(after, own, stamps)
  if (own === undefined || ttl !== undefined) return recordOf(stamp, own, ttl)
  return encodeRecord({ stamp, value: own, expiresAt })
}

/** What says the same as before, but for its expiry, comes right after it; another value competes with others for its place. */
function stampOf(
  after: RecordBytes | undefined,
  value: Uint8Array | undefined,
  stamps: StampSource
): Stamp | Promise<Stamp> {
  if (after === undefined) return stamps.next()
  const base = recordStamp(after)
  const before = recordValue(after)
  if (value !== undefined && before !== undefined && equalBytes(value, before)) return successorOf(base)
  const fresh = stamps.next()
  return fresh instanceof Promise ? fresh.then(later => claimOn(base, later)) : claimOn(base, fresh)
}

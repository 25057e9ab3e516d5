import fc from 'fast-check'
import type { Actor } from '../../../src/model/node-id.ts'
import {
  encodeRecord,
  type RecordBytes,
  recordStamp,
  restamp,
  STAMP_END,
  STAMP_START
} from '../../../src/model/record.ts'
import type { StoredReply } from '../../../src/replication/wire.ts'
import type { KeyedRecord } from '../../../src/storage/record-store.ts'

/** An actor of which no two digits are alike: one that is shifted or cut is another one. */
export const ACTOR = '0123456789abcdef' as Actor

export function anyBytes(maxLength: number): fc.Arbitrary<Uint8Array> {
  return fc.uint8Array({ maxLength })
}

/** A value or a tombstone, which may expire. */
export const anyRecord: fc.Arbitrary<RecordBytes> = fc
  .record({
    hlc: fc.nat(),
    value: fc.option(anyBytes(64), { nil: undefined }),
    expiresAt: fc.option(fc.nat(), { nil: undefined })
  })
  .map(({ hlc, value, expiresAt }) => encodeRecord({ stamp: { hlc, actor: ACTOR }, value, expiresAt }))

/** The stamp of what a reader holds itself, if it holds anything. */
export const anyKnown: fc.Arbitrary<Uint8Array | undefined> = fc.option(
  anyRecord.map(record => record.slice(STAMP_START, STAMP_END)),
  { nil: undefined }
)

/** What an operation is about. */
export const anyPlace = { partition: fc.nat(0xffff), keyspace: anyBytes(64), key: anyBytes(64) }

/** What a replica that is not fenced says to a read, kind by kind. */
export const anyReadReply = [
  fc.record({ kind: fc.constant('record' as const), record: anyRecord }),
  fc.record({ kind: fc.constant('none' as const), horizon: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant('same' as const) })
] as const

/** What a replica says that has stored a write, or a unit. */
export const anyStored: fc.Arbitrary<StoredReply> = fc.record(
  {
    kind: fc.constant('stored' as const),
    existed: fc.boolean(),
    rest: fc.uint8Array({ minLength: 1, maxLength: 8, max: 1 })
  },
  { requiredKeys: ['kind', 'existed'] }
)

/** The rest of a unit of this record, or none. */
export function anyRestOf(record: RecordBytes): fc.Arbitrary<readonly KeyedRecord[] | undefined> {
  const other = fc.record({ key: anyBytes(64), record: anyRecord.map(one => restamp(one, recordStamp(record))) })
  return fc.option(fc.array(other, { minLength: 1, maxLength: 4 }), { nil: undefined })
}

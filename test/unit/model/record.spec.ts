import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import {
  assertRecord,
  bareHead,
  compareRecords,
  compareRecordStamps,
  encodeRecord,
  hasStamp,
  isLive,
  isPacked,
  isTombstone,
  newest,
  RECORD_BYTES_MIN,
  RECORD_HEAD_BYTES_MAX,
  type RecordBytes,
  recordExpiresAt,
  recordHead,
  recordHlc,
  type RecordParts,
  recordStamp,
  recordValue,
  restamp,
  STAMP_BYTES,
  STAMP_END,
  STAMP_START
} from '../../../src/model/record.ts'
import { compareStamps, type Stamp } from '../../../src/model/stamp.ts'

const actor = fc.stringMatching(/^[0-9a-f]{16}$/u).map(text => text as Actor)
const stamp: fc.Arbitrary<Stamp> = fc.record({ hlc: fc.maxSafeNat(), actor }, { noNullPrototype: true })
const parts = (stamps: fc.Arbitrary<Stamp>, valueMax: number): fc.Arbitrary<RecordParts> =>
  fc.record({
    stamp: stamps,
    value: fc.option(fc.uint8Array({ maxLength: valueMax }), { nil: undefined }),
    expiresAt: fc.option(fc.nat(2 ** 47), { nil: undefined })
  })
const record = parts(stamp, 60).map(encodeRecord)
/** Records that often have the same stamp, which only a fault can make. */
const rival = parts(
  fc.record({ hlc: fc.nat(2), actor: fc.constantFrom('00'.repeat(8), 'ff'.repeat(8)).map(text => text as Actor) }),
  2
).map(encodeRecord)

const sign = (n: number): number => Math.sign(n) + 0
const runs = { numRuns: 2000 }

describe('records', () => {
  it('are still records when nothing but their head is left', () => {
    const packed = new Uint8Array([0, 0, 100, 1, 2, 3])
    for (const expiresAt of [undefined, 12345]) {
      const whole = encodeRecord({
        stamp: { hlc: 5, actor: '00000000000000aa' as Actor },
        value: packed,
        packed: true,
        expiresAt
      })
      assertRecord(whole)
      const bare = bareHead(whole)
      assertRecord(bare)
      assert.equal(isPacked(bare), false)
      assert.equal(recordExpiresAt(bare), expiresAt)
      assert.deepEqual(recordStamp(bare), recordStamp(whole))
    }
  })

  it('give back what they were made of', () => {
    fc.assert(
      fc.property(parts(stamp, 60), made => {
        const bytes = encodeRecord(made)
        assertRecord(bytes)
        assert.deepEqual(recordStamp(bytes), made.stamp)
        assert.equal(recordHlc(bytes), made.stamp.hlc)
        assert.equal(recordExpiresAt(bytes), made.expiresAt)
        assert.equal(isTombstone(bytes), made.value === undefined)
        const value = recordValue(bytes)
        assert.deepEqual(value && [...value], made.value && [...made.value])
        assert.equal(bytes.length, (made.expiresAt === undefined ? 16 : 22) + (made.value?.length ?? 0))
        const head = recordHead(bytes)
        assert.equal(head.length, bytes.length - (made.value?.length ?? 0))
        assert.ok(head.length >= RECORD_BYTES_MIN && head.length <= RECORD_HEAD_BYTES_MAX)
      }),
      runs
    )
  })

  it('get another stamp and nothing else, in a copy', () => {
    fc.assert(
      fc.property(parts(stamp, 60), stamp, (made, other) => {
        const bytes = encodeRecord(made)
        assert.deepEqual(restamp(bytes, other), encodeRecord({ ...made, stamp: other }))
        assert.deepEqual(recordStamp(bytes), made.stamp)
      })
    )
  })

  it('have the stamp that others are known by, and no other', () => {
    fc.assert(
      fc.property(record, fc.oneof(record, rival), fc.nat(STAMP_BYTES - 1), fc.nat(7), (bytes, other, at, bit) => {
        const own = bytes.slice(STAMP_START, STAMP_END)
        assert.equal(own.length, STAMP_BYTES)
        assert.equal(hasStamp(bytes, own), true)
        assert.equal(
          hasStamp(bytes, other.subarray(STAMP_START, STAMP_END)),
          compareStamps(recordStamp(bytes), recordStamp(other)) === 0
        )
        assert.equal(hasStamp(restamp(other, recordStamp(bytes)), own), true, 'whatever else it holds')
        const wrong = own.slice()
        wrong[at]! ^= 1 << bit
        assert.equal(hasStamp(bytes, wrong), false)
        assert.equal(hasStamp(bytes, own.subarray(0, at)), false, 'not a part of it')
        assert.equal(hasStamp(bytes, Uint8Array.of(...own, 0)), false, 'nor more than that')
      }),
      runs
    )
  })

  it('are seen until they are deleted or expire, and not at the instant they do', () => {
    fc.assert(
      fc.property(parts(stamp, 4), fc.nat(2 ** 47), (made, nowMs) => {
        const seen = made.value !== undefined && (made.expiresAt === undefined || made.expiresAt > nowMs)
        assert.equal(isLive(encodeRecord(made), nowMs), seen)
        if (made.expiresAt !== undefined) assert.equal(isLive(encodeRecord(made), made.expiresAt), false)
      })
    )
    assert.equal(isLive(undefined, 0), false)
  })

  it('are refused or readable, whatever bytes come from outside', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(0xff), (bytes, first) => {
        if (bytes.length > 0) bytes[0] = first
        try {
          assertRecord(bytes)
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_CORRUPT'), String(error))
          return
        }
        const made = {
          stamp: recordStamp(bytes),
          value: recordValue(bytes),
          expiresAt: recordExpiresAt(bytes),
          packed: isPacked(bytes)
        }
        assert.ok(Number.isSafeInteger(made.stamp.hlc))
        assert.deepEqual([...encodeRecord(made)], [...bytes], 'there is one form for each record')
      }),
      { numRuns: 5000 }
    )
  })

  it('are refused when cut short before their value', () => {
    fc.assert(
      fc.property(record, bytes => {
        for (let length = 0; length < recordHead(bytes).length; length++) {
          assert.throws(
            () => assertRecord(bytes.subarray(0, length)),
            error => isKilovoltError(error, 'KV_CORRUPT')
          )
        }
      })
    )
  })
})

for (const [name, arbitrary] of [
  ['any records', record],
  ['records that often share their stamp', rival]
] as const) {
  describe(`the order of ${name}`, () => {
    it('is total: antisymmetric, transitive, and equal only for equal bytes', () => {
      fc.assert(
        fc.property(arbitrary, arbitrary, arbitrary, (a, b, c) => {
          assert.equal(sign(compareRecords(a, b)), sign(-compareRecords(b, a)))
          assert.equal(compareRecords(a, b) === 0, Buffer.compare(a, b) === 0)
          if (compareRecords(a, b) >= 0 && compareRecords(b, c) >= 0) assert.ok(compareRecords(a, c) >= 0)
        }),
        runs
      )
    })

    it('is the order of their stamps wherever those differ', () => {
      fc.assert(
        fc.property(arbitrary, arbitrary, (a, b) => {
          const byStamp = sign(compareStamps(recordStamp(a), recordStamp(b)))
          assert.equal(sign(compareRecordStamps(a, b)), byStamp)
          if (byStamp !== 0) assert.equal(sign(compareRecords(a, b)), byStamp)
        }),
        runs
      )
    })

    it('makes newest() commutative, associative and idempotent', () => {
      const maybe = fc.option(arbitrary, { nil: undefined })
      fc.assert(
        fc.property(maybe, maybe, maybe, (a, b, c) => {
          assert.deepEqual(newest(a, b), newest(b, a))
          assert.deepEqual(newest(newest(a, b), c), newest(a, newest(b, c)))
          assert.deepEqual(newest(a, a), a)
          assert.deepEqual(newest(newest(a, b), b), newest(a, b))
        }),
        runs
      )
    })
  })
}

describe('the order of records', () => {
  it('does not depend on the order of arrival', () => {
    fc.assert(
      fc.property(fc.array(rival, { minLength: 1, maxLength: 8 }), list => {
        const fold = (records: RecordBytes[]): RecordBytes | undefined =>
          records.reduce<RecordBytes | undefined>((best, next) => newest(best, next), undefined)
        assert.deepEqual(fold([...list].reverse()), fold(list))
      })
    )
  })
})

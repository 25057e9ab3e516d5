import assert from 'node:assert/strict'
import { compareBytes, equalBytes } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { hlcToMs } from '../../../src/model/hlc.ts'
import { encodeRecord, type RecordBytes, recordStamp } from '../../../src/model/record.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { ApplyBatch, type Mutation } from '../../../src/storage/apply-batch.ts'
import { Damage } from '../../../src/storage/damage.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { PLAIN } from '../../../src/storage/record-form.ts'
import { record, valueOf } from '../../conformance/record-store-suite.ts'

const RULES = { form: PLAIN, damage: new Damage(), horizonOf: undefined, joinsSiblings: true }

function mutation(key: Uint8Array, hlc: number, value: string): Mutation {
  return {
    key,
    record: record(hlc, value),
    kind: 'offer',
    done: () => {},
    group: { outstanding: 1, waiting: undefined },
    following: 0
  }
}

function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash
}

/** Two different keys that hash alike; among 200,000 there are several. */
function collision(): [Uint8Array, Uint8Array] {
  const random = new SeededRandom(1)
  const seen = new Map<number, Uint8Array>()
  for (let i = 0; i < 200_000; i++) {
    const key = random.bytes(8)
    const other = seen.get(fnv1a(key))
    if (other !== undefined) return [other, key]
    seen.set(fnv1a(key), key)
  }
  return assert.fail('no collision found')
}

describe('a batch of mutations below the horizon', () => {
  const key = dataKey(3, new Uint8Array(0), Uint8Array.of(1))
  const horizonOf = (partition: number): number => (partition === 3 ? 100 : 0)
  const old = record(50, 'old')
  const tombstone = record(60, undefined)

  function outcome(
    kind: Mutation['kind'],
    offered: RecordBytes,
    held?: RecordBytes
  ): [string, RecordBytes | undefined] {
    const batch = new ApplyBatch([{ ...mutation(key, 0, ''), record: offered, kind }])
    const [result] = batch.decide([held], { ...RULES, horizonOf })
    assert.ok(result !== undefined && !(result instanceof Error))
    const [change] = batch.changes()
    return [result.outcome, change === undefined ? held : change.value]
  }

  it('G1: lets nothing in that is missing, from whom it may be', () => {
    assert.deepEqual(outcome('offer', old), ['settled', undefined])
    assert.deepEqual(outcome('offer', record(100, 'at it')), ['settled', undefined])
    assert.deepEqual(outcome('offer', record(101, 'above')), ['applied', record(101, 'above')])
  })

  it('lets in what is newer than what is held', () => {
    assert.deepEqual(outcome('offer', record(70, 'newer'), old), ['applied', record(70, 'newer')])
    assert.deepEqual(outcome('offer', old, record(70, 'newer')), ['stale', record(70, 'newer')])
  })

  it('deletes what a spent record takes the place of, instead of storing that', () => {
    assert.deepEqual(outcome('offer', tombstone, old), ['applied', undefined])
    assert.deepEqual(outcome('offer', record(101, undefined), old), ['applied', record(101, undefined)])
  })

  it('lets a copy bring whatever is not spent', () => {
    assert.deepEqual(outcome('copy', old), ['applied', old])
    assert.deepEqual(outcome('copy', tombstone), ['settled', undefined])
    const beforeHorizon = hlcToMs(100)
    const expired = encodeRecord({ stamp: recordStamp(old), value: Uint8Array.of(1), expiresAt: beforeHorizon })
    const expiring = encodeRecord({ stamp: recordStamp(old), value: Uint8Array.of(1), expiresAt: beforeHorizon + 1 })
    assert.deepEqual(outcome('copy', expired), ['settled', undefined])
    assert.deepEqual(outcome('copy', expiring), ['applied', expiring])
  })
})

describe('a batch of mutations', () => {
  it('tells keys of one hash apart', () => {
    const [a, b] = collision()
    assert.ok(!equalBytes(a, b))
    const batch = new ApplyBatch([
      mutation(a, 1, 'a'),
      mutation(b, 2, 'b'),
      mutation(a, 3, 'A'),
      mutation(b, 1, 'late')
    ])
    assert.equal(batch.keys.length, 2)
    const results = batch.decide([undefined, undefined], RULES)
    assert.deepEqual(
      results.map(result => (isKilovoltError(result) ? result.code : [result.outcome, valueOf(result.current)])),
      [
        ['applied', undefined],
        ['applied', undefined],
        ['applied', 'a'],
        ['stale', 'b']
      ]
    )
    const changes = batch.changes().toSorted((x, y) => compareBytes(x.key, y.key))
    assert.deepEqual(
      changes.map(({ key, value }) => [[...key], valueOf(value)]),
      [[a, 'A'] as const, [b, 'b'] as const].toSorted(([x], [y]) => compareBytes(x, y)).map(([key, v]) => [[...key], v])
    )
  })

  it('writes a key once, with the newest of its mutations, and not at all when the store holds that', () => {
    const [a, b] = [Uint8Array.of(1), Uint8Array.of(2)]
    const batch = new ApplyBatch([mutation(a, 2, 'x'), mutation(b, 2, 'y'), mutation(a, 4, 'z'), mutation(a, 3, 'w')])
    batch.decide([record(1, 'old'), record(5, 'newer')], RULES)
    assert.deepEqual(
      batch.changes().map(({ key, value }) => [key[0], valueOf(value)]),
      [[1, 'z']]
    )
  })
})

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { recordHead } from '../../../src/model/record.ts'
import {
  decodeScan,
  encodeScan,
  PAGE_BYTES_MAX,
  PAGE_REST_MAX_MS,
  PAGE_ROWS_MAX,
  type ScanRequest
} from '../../../src/replication/scan-wire.ts'
import { bytesOf, pageOf, type PageOfObjects, type ScanRow } from '../../support/scan-pages.ts'
import { itTravels } from '../../support/wire-checks.ts'
import { anyBytes, anyRecord } from './arbitraries.ts'

const partitions = fc.array(fc.nat(0xffff), { maxLength: 20 })
/** Those of a request rise, and are wanted in one way each. */
const wanted = fc
  .uniqueArray(fc.tuple(fc.nat(0xffff), fc.boolean()), { maxLength: 20, selector: ([partition]) => partition })
  .map(all => all.toSorted(([a], [b]) => a - b))
  .map(all => ({
    whole: all.filter(([, isWhole]) => isWhole).map(([partition]) => partition),
    heads: all.filter(([, isWhole]) => !isWhole).map(([partition]) => partition)
  }))
const rows: fc.Arbitrary<ScanRow[]> = fc.array(
  fc
    .record({ key: anyBytes(32), record: anyRecord, isHead: fc.boolean() })
    .chain(row =>
      row.isHead
        ? fc.constantFrom({ ...row, record: recordHead(row.record) }, { ...row, record: undefined })
        : fc.constant(row)
    ),
  { maxLength: 20 }
)
const question: fc.Arbitrary<Omit<ScanRequest, 'whole' | 'heads'>> = fc.record({
  keyspace: anyBytes(64),
  range: fc.record({ from: anyBytes(64), to: fc.option(anyBytes(64), { nil: undefined }) }),
  isReverse: fc.boolean(),
  exempt: fc.boolean(),
  rows: fc.integer({ min: 1, max: PAGE_ROWS_MAX }),
  bytes: fc.integer({ min: 1, max: PAGE_BYTES_MAX }),
  restMaxMs: fc.nat(PAGE_REST_MAX_MS)
})
const request: fc.Arbitrary<ScanRequest> = fc.tuple(question, wanted).map(([some, which]) => ({ ...some, ...which }))
const page: fc.Arbitrary<PageOfObjects> = fc.record({
  epoch: fc.maxSafeNat(),
  refused: partitions,
  rows,
  last: fc.option(anyBytes(64), { nil: undefined })
})

describe('the messages of a scan', () => {
  itTravels('a request', request, encodeScan, decodeScan)
  itTravels('a page', page, bytesOf, pageOf)

  it('cannot ask for more than a page, nor for nothing', () => {
    const some = { keyspace: new Uint8Array(), isReverse: false, exempt: false, whole: [1], heads: [], restMaxMs: 1e9 }
    const range = { from: new Uint8Array(), to: undefined }
    const large = decodeScan(encodeScan({ ...some, range, rows: 1e9, bytes: 1e12 }))
    assert.deepEqual([large.rows, large.bytes, large.restMaxMs], [PAGE_ROWS_MAX, PAGE_BYTES_MAX, PAGE_REST_MAX_MS])
    for (const nothing of [
      { rows: 0, bytes: 1 },
      { rows: 1, bytes: 0 }
    ])
      assert.throws(() => decodeScan(encodeScan({ ...some, range, ...nothing })), { code: 'KV_PROTOCOL' })
  })

  it('ask for each partition once, in rising order: each costs a read', () => {
    const some = { keyspace: new Uint8Array(), range: { from: new Uint8Array(), to: undefined } }
    const asked = (whole: number[], heads: number[]): ScanRequest =>
      decodeScan(
        encodeScan({ ...some, isReverse: false, exempt: false, rows: 1, bytes: 1, whole, heads, restMaxMs: 0 })
      )
    assert.deepEqual(asked([0, 2, 5], [1, 3]).whole, [0, 2, 5])
    for (const [whole, heads] of [
      [[1, 1], []],
      [[], [2, 1]],
      [[1, 2], [2]]
    ] as const)
      assert.throws(() => asked([...whole], [...heads]), { code: 'KV_PROTOCOL' })
  })
})

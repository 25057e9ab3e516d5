import assert from 'node:assert/strict'
import fc from 'fast-check'
import { recordHead } from '../../../src/model/record.ts'
import {
  decodePage,
  decodeScan,
  encodePage,
  encodeScan,
  PAGE_BYTES_MAX,
  PAGE_ROWS_MAX,
  type ScanPage,
  type ScanRequest,
  type ScanRow
} from '../../../src/replication/scan-wire.ts'
import { itTravels } from '../../support/wire-checks.ts'
import { anyBytes, anyRecord } from './arbitraries.ts'

const partitions = fc.array(fc.nat(0xffff), { maxLength: 20 })
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
const request: fc.Arbitrary<ScanRequest> = fc.record({
  keyspace: anyBytes(64),
  range: fc.record({ from: anyBytes(64), to: fc.option(anyBytes(64), { nil: undefined }) }),
  isReverse: fc.boolean(),
  exempt: fc.boolean(),
  rows: fc.integer({ min: 1, max: PAGE_ROWS_MAX }),
  bytes: fc.nat(PAGE_BYTES_MAX),
  whole: partitions,
  heads: partitions
})
const page: fc.Arbitrary<ScanPage> = fc.record({
  epoch: fc.maxSafeNat(),
  refused: partitions,
  rows,
  last: fc.option(anyBytes(64), { nil: undefined })
})

describe('the messages of a scan', () => {
  itTravels('a request', request, encodeScan, decodeScan)
  itTravels('a page', page, encodePage, decodePage)

  it('cannot ask for more than a page, nor for nothing', () => {
    const some = { keyspace: new Uint8Array(), isReverse: false, exempt: false, whole: [1], heads: [] }
    const range = { from: new Uint8Array(), to: undefined }
    const large = decodeScan(encodeScan({ ...some, range, rows: 1e9, bytes: 1e12 }))
    assert.deepEqual([large.rows, large.bytes], [PAGE_ROWS_MAX, PAGE_BYTES_MAX])
    const nothing = encodeScan({ ...some, range, rows: 0, bytes: 1 })
    assert.throws(() => decodeScan(nothing), { code: 'KV_PROTOCOL' })
  })
})

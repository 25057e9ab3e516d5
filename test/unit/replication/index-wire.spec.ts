import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  decodeIndexPage,
  decodeIndexRequest,
  encodeIndexPage,
  encodeIndexRequest,
  type IndexPage,
  type IndexRequest
} from '../../../src/replication/index-wire.ts'
import { PAGE_ROWS_MAX } from '../../../src/replication/scan-wire.ts'
import { itTravels } from '../../support/wire-checks.ts'
import { anyBytes } from './arbitraries.ts'

const partitions = fc.array(fc.nat(0xffff), { maxLength: 20 })
const request: fc.Arbitrary<IndexRequest> = fc.record({
  keyspace: anyBytes(64),
  name: fc.string({ maxLength: 20 }),
  fingerprint: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  range: fc.record({ from: anyBytes(64), to: fc.option(anyBytes(64), { nil: undefined }) }),
  isReverse: fc.boolean(),
  rows: fc.integer({ min: 1, max: PAGE_ROWS_MAX }),
  partitions
})
const page: fc.Arbitrary<IndexPage> = fc.record({
  epoch: fc.maxSafeNat(),
  refused: partitions,
  lacking: partitions,
  rows: fc.array(anyBytes(64), { maxLength: 20 }),
  last: fc.option(anyBytes(64), { nil: undefined })
})

describe('the messages of a query', () => {
  itTravels('a request', request, encodeIndexRequest, decodeIndexRequest)
  itTravels('a page', page, encodeIndexPage, decodeIndexPage)

  it('cannot ask for more than a page, nor for nothing', () => {
    const some: Omit<IndexRequest, 'rows'> = {
      keyspace: new Uint8Array(),
      name: 'a',
      fingerprint: new Uint8Array(16),
      range: { from: new Uint8Array(), to: undefined },
      isReverse: false,
      partitions: [1]
    }
    assert.equal(decodeIndexRequest(encodeIndexRequest({ ...some, rows: 1e9 })).rows, PAGE_ROWS_MAX)
    assert.throws(() => decodeIndexRequest(encodeIndexRequest({ ...some, rows: 0 })), { code: 'KV_PROTOCOL' })
  })
})

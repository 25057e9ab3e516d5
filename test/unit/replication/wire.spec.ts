import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Actor } from '../../../src/model/node-id.ts'
import { encodeRecord, type RecordBytes, STAMP_END, STAMP_START } from '../../../src/model/record.ts'
import {
  decodeGet,
  decodeGetReply,
  decodePut,
  decodePutReply,
  encodeGet,
  encodeGetReply,
  encodePut,
  encodePutReply,
  type GetReply,
  type GetRequest,
  type PutReply,
  type PutRequest
} from '../../../src/replication/wire.ts'
import { itTravels } from '../../support/wire-checks.ts'

const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength })
const records: fc.Arbitrary<RecordBytes> = fc
  .record({
    hlc: fc.nat(),
    value: fc.option(bytes(64), { nil: undefined }),
    expiresAt: fc.option(fc.nat(), { nil: undefined })
  })
  .map(({ hlc, value, expiresAt }) =>
    encodeRecord({ stamp: { hlc, actor: '0123456789abcdef' as Actor }, value, expiresAt })
  )
const place = { partition: fc.nat(0xffff), keyspace: bytes(64), key: bytes(64) }
const puts: fc.Arbitrary<PutRequest> = fc.record({
  ...place,
  record: records,
  exempt: fc.boolean(),
  repair: fc.boolean()
})
const gets: fc.Arbitrary<GetRequest> = fc.record({
  ...place,
  exempt: fc.boolean(),
  known: fc.option(
    records.map(record => record.slice(STAMP_START, STAMP_END)),
    { nil: undefined }
  )
})
const fenced = fc.record({ kind: fc.constant('fenced' as const), epoch: fc.nat() })
const putReplies: fc.Arbitrary<PutReply> = fc.oneof(
  fc.record({ kind: fc.constant('stored' as const), existed: fc.boolean() }),
  fc.record({ kind: fc.constant('stale' as const), current: records }),
  fc.record({ kind: fc.constant('late' as const), floor: fc.nat() }),
  fenced
)
const getReplies: fc.Arbitrary<GetReply> = fc.oneof(
  fc.record({ kind: fc.constant('record' as const), record: records }),
  fc.record({ kind: fc.constant('none' as const), horizon: fc.nat() }),
  fc.record({ kind: fc.constant('same' as const) }),
  fenced
)

describe('between coordinator and replica', () => {
  itTravels('a write', puts, encodePut, decodePut)
  itTravels('a read', gets, encodeGet, decodeGet)
  itTravels('an answer to a write', putReplies, encodePutReply, decodePutReply)
  itTravels('an answer to a read', getReplies, encodeGetReply, decodeGetReply)

  it('an empty message and an unknown status are refused', () => {
    for (const decode of [decodePut, decodeGet, decodePutReply, decodeGetReply]) {
      assert.throws(() => decode(new Uint8Array(0)), { code: 'KV_PROTOCOL' })
    }
    assert.throws(() => decodePutReply(Uint8Array.of(99)), { code: 'KV_PROTOCOL' })
    assert.throws(() => decodeGetReply(Uint8Array.of(99)), { code: 'KV_PROTOCOL' })
  })

  it('a record beyond the limit is refused before it is looked at', () => {
    const reply = new Uint8Array(8 * 1024 * 1024 + 1024)
    reply[0] = 4
    assert.throws(() => decodeGetReply(reply), { code: 'KV_PROTOCOL' })
  })
})

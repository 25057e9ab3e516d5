import assert from 'node:assert/strict'
import fc from 'fast-check'
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
import { anyKnown, anyPlace, anyReadReply, anyRecord, anyStored } from './arbitraries.ts'

const puts: fc.Arbitrary<PutRequest> = fc.record({
  ...anyPlace,
  record: anyRecord,
  exempt: fc.boolean(),
  repair: fc.boolean()
})
const gets: fc.Arbitrary<GetRequest> = fc.record({ ...anyPlace, exempt: fc.boolean(), known: anyKnown })
const fenced = fc.record({ kind: fc.constant('fenced' as const), epoch: fc.nat() })
const putReplies: fc.Arbitrary<PutReply> = fc.oneof(
  anyStored,
  fc.record({ kind: fc.constant('stale' as const), current: anyRecord }),
  fc.record({ kind: fc.constant('late' as const), floor: fc.nat() }),
  fenced
)
const getReplies: fc.Arbitrary<GetReply> = fc.oneof(...anyReadReply, fenced)

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

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { encodeRecord } from '../../../src/model/record.ts'
import { decodePuts, encodePuts } from '../../../src/replication/bundle-wire.ts'
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
import { ACTOR, anyKnown, anyPlace, anyReadReply, anyRecord, anyRestOf, anyStored } from './arbitraries.ts'

const puts: fc.Arbitrary<PutRequest> = fc
  .record({ ...anyPlace, record: anyRecord, exempt: fc.boolean(), repair: fc.boolean() })
  .chain(put => anyRestOf(put.record).map(rest => ({ ...put, rest })))
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

  it('a unit of several stamps is refused, as nobody could tell what of it belongs together', () => {
    const [first, second] = [1, 2].map(hlc => encodeRecord({ stamp: { hlc, actor: ACTOR }, value: undefined }))
    const key = Uint8Array.of(1)
    const rest = [{ key, record: second! }]
    const put = { partition: 1, keyspace: key, key, record: first!, exempt: false, repair: false }
    assert.throws(() => decodePut(encodePut({ ...put, rest })), { code: 'KV_PROTOCOL' })
    assert.throws(() => decodePuts(encodePuts([{ ...put, rest }], false)), { code: 'KV_PROTOCOL' })
    assert.equal(decodePuts(encodePuts([{ ...put, rest: [{ key, record: first! }] }], false))[0]?.rest?.length, 1)
  })

  it('a record beyond the limit is refused before it is looked at', () => {
    const reply = new Uint8Array(8 * 1024 * 1024 + 1024)
    reply[0] = 4
    assert.throws(() => decodeGetReply(reply), { code: 'KV_PROTOCOL' })
  })
})

import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { type OutOfReach, outOfReachError } from '../../../src/replication/out-of-reach.ts'
import { store } from '../cluster/fixtures.ts'

const [A, B, C, D] = [store(1), store(2), store(3), store(4)]
const SECRET = 'a key that may be secret'

function failed(more: Partial<OutOfReach> = {}): OutOfReach {
  return {
    what: 'write',
    key: { partition: 12, keyspace: utf8('carts'), key: utf8(SECRET) },
    requirement: 'quorum',
    sets: [[A, B, C]],
    answers: [
      { store: A, answer: 'ok' },
      { store: B, answer: 'down' },
      { store: C, answer: 'unsent' }
    ],
    mayHaveRun: true,
    ...more
  }
}

describe('an operation whose level is out of reach', () => {
  it('says of which keyspace it is, how many copies it needs and has, and what may have become of it', () => {
    const { code, message, retryable, details } = outOfReachError(failed())
    assert.equal(code, 'KV_QUORUM_NOT_REACHED')
    assert.equal(
      message,
      'a write at quorum in keyspace "carts" is out of reach: it needs 2 of 3 copies, 1 answered: ' +
        '01010101 ok, 02020202 down, 03030303 unsent; a copy may have stored it (partition 12)'
    )
    assert.equal(retryable, true)
    const { answers } = failed()
    assert.deepEqual(details, { answers, requirement: 'quorum', partition: 12, outcome: 'unknown' })
    assert.ok(!JSON.stringify(outOfReachError(failed())).includes(SECRET))
  })

  it('that cannot have happened anywhere says so, and a read says nothing of that', () => {
    const write = outOfReachError(failed({ mayHaveRun: false }))
    assert.match(write.message, /; no copy has stored it/u)
    assert.equal(write.details['outcome'], 'not-executed')
    const read = outOfReachError(failed({ what: 'read', mayHaveRun: false }))
    assert.doesNotMatch(read.message, /stored/u)
    assert.ok(!('outcome' in read.details))
  })

  it('asks for more copies than there are', () => {
    const write = outOfReachError(failed({ requirement: 5 }))
    assert.match(
      write.message,
      /a write with w: 5 in keyspace "carts" is out of reach: w: 5 is more than the 3 copies/u
    )
    assert.equal(write.retryable, false, 'there is no use in trying again')
    assert.match(outOfReachError(failed({ what: 'read', requirement: 4 })).message, /r: 4 is more than the 3 copies/u)
    assert.match(outOfReachError(failed({ requirement: 2, sets: [[A]] })).message, /the one copy there is/u)
    assert.match(outOfReachError(failed({ requirement: 3 })).message, /needs 3 of 3 copies, 1 answered/u)
  })

  it('counts those that are coming where they are what is missing', () => {
    const answers = [A, B, C, D].map(one => ({ store: one, answer: one === A || one === B ? 'ok' : 'timeout' }))
    const sets = [
      [A, B, C],
      [B, C, D]
    ]
    assert.match(outOfReachError(failed({ sets, answers })).message, /needs 2 of 3 copies, 1 answered/u)
    assert.match(outOfReachError(failed({ sets: [] })).message, /needs 1 of 0 copies, 0 answered/u)
  })

  it('names the default keyspace, says what two copies come to, and tells damage apart', () => {
    const two = failed({
      key: { partition: 1, keyspace: utf8(''), key: utf8('') },
      sets: [[A, B]],
      answers: [
        { store: A, answer: 'ok' },
        { store: B, answer: 'KV_CORRUPT' }
      ]
    })
    const { code, message } = outOfReachError(two)
    assert.equal(code, 'KV_CORRUPT')
    assert.match(message, /in the default keyspace .*run a third node/u)
  })
})

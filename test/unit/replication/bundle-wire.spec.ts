import assert from 'node:assert/strict'
import fc from 'fast-check'
import { KilovoltError } from '../../../src/base/errors.ts'
import { encodeRecord, recordHlc, STAMP_END, STAMP_START } from '../../../src/model/record.ts'
import {
  BUNDLE_MAX,
  decodeGets,
  decodePuts,
  decodeReadAnswers,
  decodeWriteAnswers,
  encodeGets,
  encodePuts,
  encodeReadAnswers,
  encodeWriteAnswers,
  type ReadAnswer,
  type ReadToAsk,
  type WriteAnswer,
  writeAnswerOf
} from '../../../src/replication/bundle-wire.ts'
import type { GetRequest, PutRequest } from '../../../src/replication/wire.ts'
import { itTravels, plain } from '../../support/wire-checks.ts'
import { ACTOR, anyBytes, anyKnown, anyPlace, anyReadReply, anyRecord, anyRestOf, anyStored } from './arbitraries.ts'

// Few keyspaces, so that often one is the same as that before it.
const place = { ...anyPlace, keyspace: fc.oneof(anyBytes(1), anyBytes(64)) }
const gets: fc.Arbitrary<GetRequest[]> = fc.array(fc.record({ ...place, exempt: fc.constant(false), known: anyKnown }))
const toAsk: fc.Arbitrary<ReadToAsk[]> = fc.array(
  fc.record({ ...place, own: fc.option(anyRecord, { nil: undefined }) })
)
const puts: fc.Arbitrary<PutRequest[]> = fc
  .tuple(
    fc.boolean(),
    fc.array(
      fc
        .record({ ...place, record: anyRecord, repair: fc.constant(false) })
        .chain(write => anyRestOf(write.record).map(rest => ({ ...write, rest })))
    )
  )
  .map(([exempt, writes]) => writes.map(write => ({ ...write, exempt })))
const readAnswers: fc.Arbitrary<ReadAnswer[]> = fc.array(fc.oneof(...anyReadReply, fc.constant(undefined)), {
  minLength: 1
})
const writeAnswers: fc.Arbitrary<WriteAnswer[]> = fc.array(
  fc.oneof(
    anyStored,
    fc.record({ kind: fc.constant('behind' as const), hlc: fc.maxSafeNat(), existed: fc.boolean() }),
    fc.record({ kind: fc.constant('fenced' as const) }),
    fc.record({ kind: fc.constantFrom('refused' as const, 'failed' as const) })
  ),
  { minLength: 1 }
)

/** As many answers as the bytes hold, for who does not know how many operations were asked for. */
function all<T>(decode: (bytes: Uint8Array, count: number) => T[], encode: (answers: readonly T[]) => Uint8Array) {
  return (encoded: Uint8Array): T[] => {
    for (let count = 1; ; count++) {
      const answers = decode(encoded, count)
      if (encode(answers).length >= encoded.length) return answers
    }
  }
}

/** Reads as they are asked for by who holds records of these stamps. */
function asked(requests: readonly GetRequest[]): ReadToAsk[] {
  return requests.map(({ partition, keyspace, key, known }) => ({
    partition,
    keyspace,
    key,
    // A record of format 1 with a value.
    own: known === undefined ? undefined : Uint8Array.of(1, ...known, 7, 7, 7)
  }))
}

const isExempt = (requests: readonly PutRequest[]): boolean => requests[0]?.exempt === true

describe('between coordinator and replica, for several operations at once', () => {
  itTravels('a list of reads', gets, requests => encodeGets(asked(requests)), decodeGets)
  itTravels('a list of writes', puts, requests => encodePuts(requests, isExempt(requests)), decodePuts)
  itTravels('a list of answers to reads', readAnswers, encodeReadAnswers, all(decodeReadAnswers, encodeReadAnswers))
  itTravels(
    'a list of answers to writes',
    writeAnswers,
    encodeWriteAnswers,
    all(decodeWriteAnswers, encodeWriteAnswers)
  )

  it('of what this node holds itself the stamp travels, and nothing else', () => {
    fc.assert(
      fc.property(toAsk, reads => {
        const encoded = encodeGets(reads)
        assert.deepEqual(
          plain(decodeGets(encoded).map(({ known }) => known)),
          plain(reads.map(({ own }) => own?.subarray(STAMP_START, STAMP_END)))
        )
        const stamped = reads.map(read => ({ ...read, own: read.own?.subarray(0, STAMP_END) }))
        assert.deepEqual(plain(encodeGets(stamped)), plain(encoded))
      })
    )
  })

  it('fewer answers than operations are refused, and more are left unread', () => {
    fc.assert(
      fc.property(readAnswers, writeAnswers, fc.nat(), (reads, writes, n) => {
        const some = n % (reads.length + 1)
        assert.equal(decodeReadAnswers(encodeReadAnswers(reads), some).length, some)
        assert.throws(() => decodeReadAnswers(encodeReadAnswers(reads), reads.length + 1), { code: 'KV_PROTOCOL' })
        assert.throws(() => decodeWriteAnswers(encodeWriteAnswers(writes), writes.length + 1), { code: 'KV_PROTOCOL' })
      })
    )
  })

  it('a list that claims more than it holds, or than may be, is refused before it is looked at', () => {
    const many = Array.from({ length: BUNDLE_MAX + 1 }, () => ({
      partition: 0,
      keyspace: new Uint8Array(),
      key: Uint8Array.of(1),
      own: undefined
    }))
    assert.equal(decodeGets(encodeGets(many.slice(1))).length, BUNDLE_MAX)
    const refusal = { code: 'KV_PROTOCOL', message: /a list of/u }
    assert.throws(() => decodeGets(encodeGets(many)), refusal)
    assert.throws(() => decodeGets(Uint8Array.of(9, 0, 0, 0, 0)), refusal)
    assert.throws(() => decodePuts(Uint8Array.of(0, 9, 0, 0, 0, 0)), refusal)
  })

  it('an empty message, an unknown status and what is no record are refused', () => {
    for (const decode of [decodeGets, decodePuts]) {
      assert.throws(() => decode(new Uint8Array(0)), { code: 'KV_PROTOCOL' })
    }
    for (const decode of [decodeReadAnswers, decodeWriteAnswers]) {
      assert.throws(() => decode(new Uint8Array(0), 1), { code: 'KV_PROTOCOL' })
      assert.throws(() => decode(Uint8Array.of(99), 1), { code: 'KV_PROTOCOL' })
    }
    assert.throws(() => decodeReadAnswers(Uint8Array.of(0, 3, 1, 2, 3), 1), { code: 'KV_CORRUPT' })
    assert.throws(() => decodePuts(Uint8Array.of(0, 1, 0, 0, 0, 0, 3, 1, 2, 3)), { code: 'KV_CORRUPT' })
  })

  it('records of more than a message may hold are left to be asked for by themselves', () => {
    const large = encodeRecord({
      stamp: { hlc: 1, actor: ACTOR },
      value: new Uint8Array(600_000)
    })
    const answers: ReadAnswer[] = Array.from({ length: 4 }, () => ({ kind: 'record', record: large }))
    const travelled = decodeReadAnswers(encodeReadAnswers(answers), 4)
    assert.deepEqual(
      travelled.map(answer => answer?.kind),
      ['record', 'record', undefined, undefined]
    )
  })

  it('what fences a read is told as no answer: the operation learns of the epoch when it asks by itself', () => {
    assert.deepEqual(decodeReadAnswers(encodeReadAnswers([{ kind: 'fenced', epoch: 12 }]), 1), [undefined])
  })

  it('what this node says to itself is what others would hear', () => {
    const current = encodeRecord({ stamp: { hlc: 77, actor: ACTOR }, value: undefined })
    assert.deepEqual(
      [
        writeAnswerOf({ kind: 'stored', existed: true }),
        writeAnswerOf({ kind: 'stale', current }),
        writeAnswerOf({ kind: 'late', floor: 5 }),
        writeAnswerOf({ kind: 'fenced', epoch: 12 }),
        writeAnswerOf(new KilovoltError('KV_READ_ONLY', 'full')),
        writeAnswerOf(new KilovoltError('KV_STORAGE', 'who knows'))
      ],
      [
        { kind: 'stored', existed: true },
        { kind: 'behind', hlc: recordHlc(current), existed: true },
        { kind: 'behind', hlc: 5, existed: false },
        { kind: 'fenced' },
        { kind: 'refused' },
        { kind: 'failed' }
      ]
    )
  })
})

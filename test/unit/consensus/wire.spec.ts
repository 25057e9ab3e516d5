import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { toHex, utf8 } from '../../../src/base/bytes.ts'
import type { Entry, RaftMessage } from '../../../src/consensus/messages.ts'
import { decodeRaftMessage, encodeRaftMessage } from '../../../src/consensus/wire.ts'
import { storeId } from '../../support/raft-network.ts'

const anyStore = fc.integer({ min: 1, max: 1000 }).map(storeId)
const anyIndex = fc.nat(2 ** 31 - 1).map(n => n * 1000)
const anyStores = fc.uniqueArray(anyStore, { maxLength: 5 })
const anyConfiguration = fc
  .tuple(fc.uniqueArray(anyStore, { minLength: 1, maxLength: 5 }), anyStores, anyStores)
  .map(([voters, outgoing, others]) => ({
    voters,
    outgoing,
    learners: others.filter(store => !voters.includes(store))
  }))
const anyContent = fc.oneof(
  fc.constant({ kind: 'empty' } as const),
  fc.uint8Array({ maxLength: 50 }).map(command => ({ kind: 'command', command }) as const),
  anyConfiguration.map(configuration => ({ kind: 'configuration', configuration }) as const)
)

/** A message as its sender could mean it. */
const anyMessage: fc.Arbitrary<RaftMessage> = fc
  .record({ from: anyStore, to: anyStore, term: fc.nat(2 ** 31 - 1) })
  .chain((header): fc.Arbitrary<RaftMessage> => {
    const anyTerm = fc.nat(header.term)
    const round = fc.nat(1_000_000)
    const record = <K extends RaftMessage['kind'], T>(
      kind: K,
      fields: fc.Arbitrary<T>
    ): fc.Arbitrary<T & { kind: K }> => fields.map(body => ({ kind, ...header, ...body }))
    const pre = fc.boolean()
    return fc.oneof(
      record('vote', fc.record({ pre, transfer: fc.boolean(), lastIndex: anyIndex, lastTerm: anyTerm })),
      record('voteReply', fc.record({ pre, granted: fc.boolean() })),
      record('appendReply', fc.record({ match: anyIndex, round })),
      record('appendRefusal', fc.record({ prevIndex: anyIndex, hintIndex: anyIndex, hintTerm: anyTerm, round })),
      record('timeoutNow', fc.constant({})),
      record('read', fc.record({ id: round })),
      record('readReply', fc.record({ id: round, index: anyIndex })),
      record(
        'snapshot',
        fc.record({
          round,
          snapshot: fc.record({
            index: anyIndex.map(index => index + 1),
            term: anyTerm,
            configuration: anyConfiguration,
            data: fc.uint8Array({ maxLength: 100 })
          })
        })
      ),
      record(
        'append',
        fc
          .record({
            prevIndex: anyIndex,
            commit: anyIndex,
            round,
            terms: fc.array(anyTerm, { minLength: 1, maxLength: 6 }),
            contents: fc.array(anyContent, { minLength: 5, maxLength: 5 })
          })
          .map(({ terms, contents, ...rest }) => {
            const [prevTerm, ...rising] = terms.sort((a, b) => a - b)
            const entries = rising.map((term, i): Entry => ({ index: rest.prevIndex + 1 + i, term, ...contents[i]! }))
            return { ...rest, prevTerm: prevTerm!, entries }
          })
      )
    ) as fc.Arbitrary<RaftMessage>
  })

describe('the bytes of consensus messages', () => {
  it('give back every message (property)', () => {
    fc.assert(
      fc.property(anyMessage, fc.nat(255), (message, group) => {
        const envelope = decodeRaftMessage(encodeRaftMessage(group, message))
        assert.deepEqual(
          { ...envelope, message: normal(envelope.message) },
          { group, from: message.from, message: normal(message) }
        )
      }),
      { numRuns: 1000 }
    )
  })

  it('are those of the format of version 1', () => {
    const header = { from: storeId(1), to: storeId(2), term: 5 }
    const entries: Entry[] = [{ index: 8, term: 5, kind: 'command', command: utf8('hi') }]
    const body = { prevIndex: 7, prevTerm: 4, commit: 300, round: 9, entries }
    const bytes = toHex(encodeRaftMessage(0, { kind: 'append', ...header, ...body }))
    assert.equal(bytes, `0002${storeId(1)}${storeId(2)}050704ac0209010501026869`)
  })

  it('share no memory with what they were read from', () => {
    const command = utf8('abc')
    const entries: Entry[] = [{ index: 1, term: 1, kind: 'command', command }]
    const header = { from: storeId(1), to: storeId(2), term: 1 }
    const body = { prevIndex: 0, prevTerm: 0, commit: 0, round: 0, entries }
    const bytes = encodeRaftMessage(0, { kind: 'append', ...header, ...body })
    const { message } = decodeRaftMessage(bytes)
    bytes.fill(0)
    assert.ok(message.kind === 'append' && message.entries[0]?.kind === 'command')
    assert.equal(toHex(message.entries[0].command), toHex(command))
  })

  it('that are cut off or spoilt are refused or mean something else, and never more than an error (property)', () => {
    fc.assert(
      fc.property(anyMessage, fc.nat(), fc.nat(255), (message, at, flip) => {
        const bytes = new Uint8Array(encodeRaftMessage(0, message))
        const cut = bytes.subarray(0, at % bytes.length)
        assert.throws(
          () => decodeRaftMessage(cut),
          error => isKilovoltError(error, 'KV_PROTOCOL')
        )
        bytes[at % bytes.length]! ^= flip
        try {
          decodeRaftMessage(bytes)
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_PROTOCOL'), String(error))
        }
      }),
      { numRuns: 1000 }
    )
  })

  it('of entries whose terms fall, or lie above their leader, are refused', () => {
    const header = { from: storeId(1), to: storeId(2), term: 5 }
    for (const terms of [
      [4, 3],
      [6, 6]
    ]) {
      const entries = terms.map((term, i): Entry => ({ index: 1 + i, term, kind: 'empty' }))
      const bytes = encodeRaftMessage(0, {
        kind: 'append',
        ...header,
        prevIndex: 0,
        prevTerm: 0,
        commit: 0,
        round: 0,
        entries
      })
      assert.throws(
        () => decodeRaftMessage(bytes),
        error => isKilovoltError(error, 'KV_PROTOCOL')
      )
    }
  })

  it('carry what later versions append, which is skipped', () => {
    const message: RaftMessage = { kind: 'timeoutNow', from: storeId(1), to: storeId(2), term: 7 }
    const bytes = encodeRaftMessage(0, message)
    const longer = new Uint8Array(bytes.length + 3)
    longer.set(bytes)
    assert.deepEqual(decodeRaftMessage(longer).message, message)
  })
})

/** Bytes in a form that compares by content alone. */
function normal(message: RaftMessage): unknown {
  return JSON.parse(
    JSON.stringify(message, (_, value: unknown) => (value instanceof Uint8Array ? toHex(value) : value))
  )
}

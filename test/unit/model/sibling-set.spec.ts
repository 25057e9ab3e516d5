import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { covers, NOTHING_SEEN, unite } from '../../../src/model/causality.ts'
import { hlcToMs } from '../../../src/model/hlc.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import {
  assertRecord,
  assertRecordHead,
  bareHead,
  encodeRecord,
  encodeSiblings,
  hasSiblings,
  isLive,
  isSpent,
  isTombstone,
  type RecordBytes,
  recordExpiresAt,
  recordHead,
  recordHlc,
  recordStamp
} from '../../../src/model/record.ts'
import type { SiblingSet } from '../../../src/model/sibling-form.ts'
import {
  holdsAll,
  joinRecords,
  liveSiblings,
  mintedSet,
  latestValue,
  newestAlone,
  prunedSet,
  settledSet,
  siblingsOf,
  unsettled
} from '../../../src/model/sibling-set.ts'
import { actorOf, minted, valuesIn } from '../../support/siblings.ts'

/** One step of a history: who does what, with what it has read of whom. */
interface Step {
  readonly kind: 'put' | 'blind' | 'delete' | 'join' | 'plain'
  readonly owner: number
  readonly other: number
  readonly read: number
  readonly expires: boolean
}

const OWNERS = 3
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('put', 'put', 'blind', 'delete', 'join', 'join', 'plain'),
  owner: fc.nat(OWNERS - 1),
  other: fc.nat(OWNERS - 1),
  read: fc.nat(1000),
  expires: fc.boolean()
})

/** All records that owners hold one after the other, in a history that could have been. */
function statesOf(steps: readonly Step[], isPlainToo = true): RecordBytes[] {
  const held: (RecordBytes | undefined)[] = Array.from({ length: OWNERS })
  const states: RecordBytes[] = []
  for (const [i, { kind, owner, other, read, expires }] of steps.entries()) {
    const mine = held[owner]
    let next: RecordBytes | undefined
    if (kind === 'join') next = mine && held[other] && joinRecords(mine, held[other])
    else if (kind === 'plain') {
      const plain = encodeRecord({ stamp: { hlc: i + 1, actor: actorOf(90 + owner) }, value: utf8(`plain ${i}`) })
      next = isPlainToo ? (mine === undefined ? plain : joinRecords(mine, plain)) : mine
    } else {
      const seen = states.length === 0 ? undefined : siblingsOf(states[read % states.length]!)
      next = encodeSiblings(
        mintedSet(mine && siblingsOf(mine), {
          context: kind === 'blind' ? undefined : seen,
          dot: { hlc: i + 1, actor: actorOf(owner + 1) },
          id: expires ? undefined : actorOf(1000 + i),
          value: kind === 'delete' ? undefined : utf8(`value ${i}`),
          packed: false,
          expiresAt: expires ? 1000 + i : undefined
        })
      )
    }
    if (next === undefined) continue
    assertRecord(next)
    held[owner] = next
    states.push(next)
  }
  return states
}

const history = fc.array(step, { minLength: 2, maxLength: 25 })
const three = fc.tuple(history, fc.nat(1000), fc.nat(1000), fc.nat(1000))
const runs = { numRuns: 2000 }

const dot = (hlc: number, actor = 1): { hlc: number; actor: Actor } => ({ hlc, actor: actorOf(actor) })

describe('records with siblings', () => {
  it('are joined in any order, and any number of times, to the same bytes', () => {
    fc.assert(
      fc.property(three, ([steps, i, j, k]) => {
        const states = statesOf(steps)
        fc.pre(states.length > 0)
        const [a, b, c] = [i, j, k].map(at => states[at % states.length]!) as [RecordBytes, RecordBytes, RecordBytes]
        const ab = joinRecords(a, b)
        assertRecord(ab)
        assert.deepEqual(ab, joinRecords(b, a))
        assert.deepEqual(joinRecords(ab, c), joinRecords(a, joinRecords(b, c)))
        assert.deepEqual(joinRecords(ab, b), ab)
        assert.equal(joinRecords(ab, a), ab)
        assert.ok(holdsAll(ab, a) && holdsAll(ab, b))
      }),
      runs
    )
  })

  it('lose no write but by one whose author had seen it', () => {
    fc.assert(
      fc.property(history, steps => {
        // By the book: each copy knows by their names all writes that it has heard of, and which of them are left.
        const known: Set<string>[] = Array.from({ length: OWNERS }, () => new Set<string>())
        const left: Set<string>[] = Array.from({ length: OWNERS }, () => new Set<string>())
        const reads: { known: Set<string> }[] = []
        const states = statesOf(steps, false)
        for (const [i, { kind, owner, other, read }] of steps.entries()) {
          const isNothing = known[owner]!.size === 0
          if (kind === 'plain' && isNothing) continue
          if (kind === 'join') {
            if (isNothing || known[other]!.size === 0) continue
            const kept = [...left[owner]!].filter(name => left[other]!.has(name) || !known[other]!.has(name))
            const added = [...left[other]!].filter(name => left[owner]!.has(name) || !known[owner]!.has(name))
            left[owner] = new Set([...kept, ...added])
            known[owner] = new Set([...known[owner]!, ...known[other]!])
          } else if (kind !== 'plain') {
            const seen = kind === 'blind' ? undefined : reads[read % reads.length]?.known
            left[owner] = new Set([...left[owner]!].filter(name => seen?.has(name) !== true))
            if (kind !== 'delete') left[owner].add(`value ${i}`)
            known[owner] = new Set([...known[owner]!, ...(seen ?? []), `value ${i}`])
          }
          assert.deepEqual(new Set(valuesIn(states[reads.length])), left[owner])
          reads.push({ known: known[owner]! })
        }
        assert.equal(reads.length, states.length)
      }),
      runs
    )
  })

  it('give back what they were made of, and refuse bytes that were changed anywhere but in a value', () => {
    fc.assert(
      fc.property(history, fc.nat(10_000), fc.integer({ min: 1, max: 255 }), (steps, at, by) => {
        const states = statesOf(steps).filter(hasSiblings)
        fc.pre(states.length > 0)
        const record = states[at % states.length]!
        const set = siblingsOf(record)
        assert.deepEqual(encodeSiblings(set), record)
        const values = set.siblings.reduce((sum, { value }) => sum + value.length, 0)
        const changed = new Uint8Array(record)
        changed[at % (record.length - values)]! ^= by
        // A byte of the head may make it another record, without siblings.
        if (!hasSiblings(changed)) return
        assert.throws(() => assertRecord(changed), isCorrupt)
        for (let end = 0; end < record.length; end++) assert.throws(() => assertRecord(record.slice(0, end)), isCorrupt)
        assert.throws(() => assertRecord(new Uint8Array([...record, 0])), isCorrupt)
      }),
      { numRuns: 500 }
    )
  })

  it('never break on bytes from anywhere', () => {
    const start = recordHead(minted(undefined, 5, 'a'))
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), rest => {
        const bytes = new Uint8Array([...start, ...rest])
        try {
          assertRecord(bytes)
        } catch (error) {
          assert.ok(isCorrupt(error))
        }
      }),
      runs
    )
  })

  it('have a head that speaks for all of them', () => {
    const a = minted(undefined, 5, 'a', { expiresAt: 100 })
    const both = joinRecords(a, minted(undefined, 7, 'b', { actor: 2, expiresAt: 300 }))
    assertRecordHead(recordHead(both))
    assert.deepEqual(recordStamp(both), dot(7, 2))
    assert.equal(recordExpiresAt(both), 300)
    assert.ok(isLive(both, 299) && !isLive(both, 300))
    assert.equal(recordExpiresAt(joinRecords(both, minted(undefined, 6, 'c', { actor: 3 }))), undefined)
    const gone = minted(both, 9, undefined, { context: siblingsOf(both) })
    assert.ok(isTombstone(gone) && isSpent(gone, 9) && !isSpent(gone, 8))
    assert.deepEqual(
      [...bareHead(both)],
      [...encodeRecord({ stamp: dot(7, 2), value: new Uint8Array(0), expiresAt: 300 })]
    )
  })

  it('differ in their heads when an older write has come late', () => {
    const a = minted(undefined, 5, 'a')
    const b = minted(undefined, 7, 'b', { actor: 2 })
    const both = joinRecords(a, b)
    assert.equal(recordHlc(both), recordHlc(b))
    assert.notDeepEqual([...recordHead(both)], [...recordHead(b)])
  })

  it('keep what a writer has not seen, and drop what it has', () => {
    const a = minted(undefined, 5, 'a')
    const b = minted(a, 6, 'b')
    assert.deepEqual(valuesIn(b), ['a', 'b'])
    const c = minted(b, 7, 'c', { context: siblingsOf(a) })
    assert.deepEqual(valuesIn(c), ['b', 'c'])
    const d = minted(c, 8, 'd', { context: siblingsOf(c) })
    assert.deepEqual(valuesIn(d), ['d'])
    // A copy that has missed all of that still has its say in nothing.
    assert.deepEqual(valuesIn(joinRecords(d, b)), ['d'])
  })

  it('yield to a record without siblings that is stamped later, and stay beside one that is stamped earlier', () => {
    const plain = (hlc: number, value: string | undefined): RecordBytes =>
      encodeRecord({ stamp: dot(hlc, 50), value: value === undefined ? undefined : utf8(value) })
    const a = minted(undefined, 5, 'a')
    assert.deepEqual(valuesIn(joinRecords(a, plain(9, 'later'))), ['later'])
    assert.deepEqual(valuesIn(joinRecords(a, plain(9, undefined))), [])
    assert.deepEqual(valuesIn(joinRecords(a, plain(3, 'earlier'))), ['earlier', 'a'])
    assert.deepEqual(valuesIn(minted(plain(3, 'earlier'), 5, 'a')), ['earlier', 'a'])
    assert.deepEqual(valuesIn(minted(plain(3, 'earlier'), 5, 'a', { context: siblingsOf(plain(3, 'earlier')) })), ['a'])
  })

  it('show the newest that has not expired to those who know of no siblings', () => {
    const both = minted(minted(undefined, 5, 'a'), 7, 'b', { expiresAt: 200 })
    assert.equal(fromUtf8(latestValue(both, 199).value), 'b')
    assert.equal(fromUtf8(latestValue(both, 200).value), 'a')
    assert.equal(liveSiblings(siblingsOf(both), 200).length, 1)
    assert.deepEqual(
      [...newestAlone(both, 199)],
      [...encodeRecord({ stamp: dot(7), value: utf8('b'), expiresAt: 200 })]
    )
    assert.deepEqual([...newestAlone(both, 200)], [...encodeRecord({ stamp: dot(7), value: utf8('a') })])
    const gone = minted(both, 9, undefined, { context: siblingsOf(both) })
    assert.deepEqual([...newestAlone(gone, 0)], [...encodeRecord({ stamp: dot(9), value: undefined })])
    // It has ended while it was on its way to who looks at it.
    assert.equal(fromUtf8(latestValue(minted(undefined, 5, 'a', { expiresAt: 9 }), 10).value), 'a')
  })

  it('let nothing back in that lies below the horizon and is missing', () => {
    const old = minted(undefined, 5, 'old')
    const both = minted(old, 9, 'new')
    assert.deepEqual(valuesIn(encodeSiblings(settledSet(siblingsOf(both), undefined, 6))), ['new'])
    assert.deepEqual(valuesIn(encodeSiblings(settledSet(siblingsOf(both), siblingsOf(old), 6))), ['old', 'new'])
    assert.deepEqual(valuesIn(unsettled(both, 6)), ['new'])
    assert.equal(unsettled(both, 4), both)
    assert.equal(unsettled(both, 9), undefined)
  })

  it('forget who has minted what when all of it is settled, and still refuse what was replaced', () => {
    const old = minted(undefined, 5, 'old')
    const next = minted(minted(old, 6, 'next', { context: siblingsOf(old) }), 7, 'beside', { actor: 2 })
    const pruned = encodeSiblings(prunedSet(siblingsOf(next), 7))
    assertRecord(pruned)
    assert.ok(pruned.length < next.length)
    assert.deepEqual(recordStamp(pruned), recordStamp(next))
    assert.deepEqual(valuesIn(pruned), valuesIn(next))
    assert.deepEqual(valuesIn(joinRecords(pruned, old)), ['next', 'beside'])
    // What is joined with one that is not pruned yet is pruned: the two do not fight.
    assert.deepEqual(joinRecords(pruned, next), pruned)
    assert.deepEqual(valuesIn(joinRecords(pruned, minted(undefined, 8, 'late', { actor: 3 }))), [
      'next',
      'beside',
      'late'
    ])
    const set: SiblingSet = siblingsOf(next)
    assert.equal(prunedSet(set, 6), set)
  })

  it('are judged by hybrid times, so that what is deleted is spent when its past is settled', () => {
    const expired = minted(undefined, 4096 * 1000, 'a', { expiresAt: hlcToMs(4096 * 1000) + 5 })
    assert.ok(!isSpent(expired, 4096 * 1005 - 1))
    assert.ok(isSpent(expired, 4096 * 1005))
  })
})

describe('what was seen', () => {
  it('is united to the least that covers both', () => {
    const entry = fc.tuple(fc.integer({ min: 1, max: 4 }).map(actorOf), fc.nat(9))
    const stamp = fc.record(
      { hlc: fc.nat(9), actor: fc.integer({ min: 1, max: 4 }).map(actorOf) },
      { noNullPrototype: true }
    )
    const some = fc
      .tuple(fc.option(stamp, { nil: undefined }), fc.array(entry, { maxLength: 4 }))
      .map(([base, entries]) => unite({ base, seen: new Map(entries) }, NOTHING_SEEN))
    fc.assert(
      fc.property(some, some, stamp, (a, b, one) => {
        assert.equal(covers(unite(a, b), one), covers(a, one) || covers(b, one))
        assert.deepEqual(unite(a, b), unite(unite(b, a), a))
      }),
      runs
    )
  })
})

function isCorrupt(error: unknown): boolean {
  return isKilovoltError(error, 'KV_CORRUPT')
}

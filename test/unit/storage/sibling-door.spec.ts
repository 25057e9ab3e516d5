import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Causality } from '../../../src/model/causality.ts'
import { encodeSiblings, type RecordBytes } from '../../../src/model/record.ts'
import { foldedSet, siblingsOf } from '../../../src/model/sibling-set.ts'
import { ApplyBatch, type ApplyRules, type Mutation } from '../../../src/storage/apply-batch.ts'
import { Damage } from '../../../src/storage/damage.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { PLAIN } from '../../../src/storage/record-form.ts'
import type { ApplyResult } from '../../../src/storage/record-store.ts'
import { record } from '../../conformance/record-store-suite.ts'
import { actorOf, minted, valuesIn } from '../../support/siblings.ts'

const KEY = dataKey(3, new Uint8Array(0), Uint8Array.of(1))
const ROTTEN = Uint8Array.of(0)

interface Decided {
  readonly results: readonly (ApplyResult | KilovoltError)[]
  /** What is stored then. */
  readonly held: RecordBytes | undefined
}

/** Offers records, one after the other in one batch, to what is held. */
function decide(
  held: RecordBytes | undefined,
  offered: readonly (RecordBytes | Pick<Mutation, 'mint'>)[],
  { kind = 'offer', horizon = 0, ...rules }: Partial<ApplyRules> & { kind?: Mutation['kind']; horizon?: number } = {}
): Decided {
  const batch = new ApplyBatch(
    offered.map(one => ({
      key: KEY,
      record: one instanceof Uint8Array ? one : new Uint8Array(0),
      mint: one instanceof Uint8Array ? undefined : one.mint,
      kind: one instanceof Uint8Array ? kind : 'mint',
      done: () => {},
      group: { outstanding: 1, waiting: undefined },
      following: 0
    }))
  )
  const results = batch.decide([held], {
    form: PLAIN,
    damage: new Damage(),
    horizonOf: horizon === 0 ? undefined : () => horizon,
    joinsSiblings: true,
    ...rules
  })
  const [change] = batch.changes()
  return { results, held: change === undefined ? held : change.value }
}

function outcomes({ results }: Decided): string[] {
  return results.map(result => (result instanceof Error ? result.code : result.outcome))
}

describe('the door for records with siblings', () => {
  const a = minted(undefined, 15, 'a')
  const b = minted(undefined, 17, 'b', { actor: 2 })

  it('keeps what neither side has seen, whichever comes first, and says what is stored now', () => {
    for (const [first, second] of [
      [a, b],
      [b, a]
    ] as const) {
      const decided = decide(undefined, [first, second])
      assert.deepEqual(outcomes(decided), ['applied', 'applied'])
      assert.deepEqual(valuesIn(decided.held), ['a', 'b'])
      const [, last] = decided.results as [ApplyResult, ApplyResult]
      assert.deepEqual(last.stored, decided.held)
      assert.deepEqual(last.current, first)
    }
  })

  it('tells what adds nothing, and writes nothing for it', () => {
    const both = decide(a, [b]).held!
    assert.deepEqual(outcomes(decide(both, [a])), ['stale'])
    assert.deepEqual(outcomes(decide(both, [new Uint8Array(both)])), ['same'])
    assert.equal(decide(both, [a]).held, both)
  })

  it('takes a record without siblings for one that has seen all before it', () => {
    assert.deepEqual(valuesIn(decide(a, [record(16, 'newest')]).held), ['newest'])
    assert.deepEqual(valuesIn(decide(a, [record(14, 'older')]).held), ['older', 'a'])
    assert.deepEqual(valuesIn(decide(record(16, 'plain'), [a]).held), ['plain'])
  })

  it('G1: lets no sibling in that lies below the horizon and is missing', () => {
    const both = decide(a, [b]).held!
    assert.deepEqual(outcomes(decide(undefined, [both], { horizon: 17 })), ['settled'])
    assert.deepEqual(valuesIn(decide(undefined, [both], { horizon: 15 }).held), ['b'])
    assert.deepEqual(valuesIn(decide(minted(undefined, 18, 'c', { actor: 3 }), [both], { horizon: 15 }).held), [
      'b',
      'c'
    ])
    assert.deepEqual(valuesIn(decide(undefined, [both], { horizon: 15, kind: 'copy' }).held), ['a', 'b'])
    assert.deepEqual(valuesIn(decide(a, [both], { horizon: 15 }).held), ['a', 'b'])
  })

  it('leaves nothing out of what is offered to a copy that is not whole yet', () => {
    const whole = minted(a, 25, 'new', { actor: 2 })
    assert.deepEqual(valuesIn(decide(undefined, [whole], { horizon: 20 }).held), ['new'])
    const partial = decide(undefined, [whole], { horizon: 20, isWhole: partition => partition !== 3 })
    assert.deepEqual(valuesIn(partial.held), ['a', 'new'])
    // What it was to be given is still let in then.
    for (const copied of [a, whole]) {
      const { held } = decide(partial.held, [copied], { horizon: 20, kind: 'copy' })
      assert.deepEqual(valuesIn(held), ['a', 'new'])
    }
  })

  it('stores nothing of what is spent, and forgets who has minted what is settled', () => {
    const gone = minted(a, 16, undefined, { context: siblingsOf(a) })
    assert.equal(decide(a, [gone], { horizon: 16 }).held, undefined)
    const both = decide(a, [b]).held!
    const pruned = decide(both, [both], { horizon: 17 }).held!
    assert.deepEqual(valuesIn(pruned), ['a', 'b'])
    assert.ok(pruned.length < both.length)
    assert.deepEqual(outcomes(decide(pruned, [both], { horizon: 17 })), ['stale'])
  })

  it('forgets who has minted what is settled of a key that is never left alone', () => {
    // Owners mint under another name whenever something of theirs may be lost.
    let held: RecordBytes | undefined
    for (let i = 1; i <= 6000; i++) {
      const mint = (before: RecordBytes | undefined): RecordBytes =>
        minted(before, 100 + i, `v${i}`, { actor: i, ...(i > 2 && { context: siblingsOf(before!) }) })
      held = decide(held, [{ mint }], { horizon: 50 + i }).held
    }
    const { base, seen, siblings } = siblingsOf(held!)
    assert.ok(base !== undefined && seen.size > 50 && seen.size <= 300, `${seen.size} actors`)
    assert.equal(siblings.length, 1)
    // Nothing of it may be said by who has not all of it yet, nor of a key that names few.
    const last = (before: RecordBytes | undefined): RecordBytes => minted(before, 7000, 'last', { actor: 9000 })
    const crowd: Causality = {
      base: undefined,
      seen: new Map(Array.from({ length: 300 }, (_, i) => [actorOf(i), i + 1]))
    }
    const crowded = minted(undefined, 400, 'a', { context: crowd, actor: 500 })
    const folded = siblingsOf(decide(crowded, [{ mint: last }], { horizon: 290 }).held!)
    assert.deepEqual([folded.base?.hlc, folded.seen.size, folded.siblings.length], [290, 12, 2])
    const partial = decide(crowded, [{ mint: last }], { horizon: 290, isWhole: () => false })
    assert.deepEqual([siblingsOf(partial.held!).base, siblingsOf(partial.held!).seen.size], [undefined, 302])
    const few = decide(minted(minted(undefined, 5, 'a'), 400, 'b', { actor: 2 }), [{ mint: last }], { horizon: 290 })
    assert.equal(siblingsOf(few.held!).seen.size, 3)
  })

  it('loses nothing by that', () => {
    const old = minted(undefined, 15, 'old')
    const both = minted(old, 25, 'new', { actor: 2 })
    const folded = encodeSiblings(foldedSet(siblingsOf(both), 20))
    const held = minted(folded, 35, 'more', { actor: 3 })
    assert.deepEqual(siblingsOf(held).base, siblingsOf(old).siblings[0]!.dot)
    for (const other of [old, both, minted(both, 30, 'beside', { actor: 4 })]) {
      const joined = decide(other, [held], { horizon: 20 }).held
      assert.deepEqual(valuesIn(joined).slice(0, 2), ['old', 'new'])
      assert.deepEqual(decide(held, [other], { horizon: 20 }).held, joined)
    }
  })

  it('lets nothing take the place of what is damaged but what is proven to be all of it', () => {
    assert.deepEqual(outcomes(decide(ROTTEN, [minted(undefined, Number.MAX_SAFE_INTEGER, 'x')])), ['KV_CORRUPT'])
    assert.deepEqual(outcomes(decide(ROTTEN, [a], { kind: 'heal' })), ['applied'])
    assert.deepEqual(outcomes(decide(ROTTEN, [{ mint: () => assert.fail('nothing may be minted here') }])), [
      'KV_CORRUPT'
    ])
  })

  it('mints upon all that came before in the same turn', () => {
    const mint = (hlc: number, value: string): Pick<Mutation, 'mint'> => ({
      mint: held => minted(held, hlc, value)
    })
    const decided = decide(a, [mint(18, 'x'), b, mint(19, 'y')])
    assert.deepEqual(outcomes(decided), ['applied', 'applied', 'applied'])
    assert.deepEqual(valuesIn(decided.held), ['a', 'b', 'x', 'y'])
  })

  it('writes nothing when nothing is minted, and hands on why', () => {
    const decided = decide(a, [
      { mint: held => held! },
      { mint: () => new KilovoltError('KV_TOO_MANY_SIBLINGS', 'no') }
    ])
    assert.deepEqual(outcomes(decided), ['same', 'KV_TOO_MANY_SIBLINGS'])
    assert.equal(decided.held, a)
  })

  it('drops one of two when it is told to, as the simulator wants to see', () => {
    assert.deepEqual(valuesIn(decide(a, [b], { joinsSiblings: false }).held), ['b'])
  })
})
